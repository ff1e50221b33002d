// Package chartgen makes what follows from the values of a chart: the umbrella's values.yaml of those of its subcharts, values.schema.json, and the table of the
// README. What the values mean stands in their comments; a comment that begins with @schema adds to the schema what the value alone does not say:
//
//	# How many there are.
//	# @schema {minimum: 1}
//	replicas: 1
//
// The package must not know helm or any chart by name.
package chartgen
