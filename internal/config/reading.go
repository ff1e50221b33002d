package config

import "crypto/sha256"

// reading is one attempt to read a file, with everything that its outcome depends on.
type reading[T any] struct {
	value  T
	err    error
	inputs map[input]digest
}

// input is an environment variable or a file.
type input struct {
	name string
	file bool
}

// digest stands for what an input was: its content or, behind a zero byte that no useful content starts with, why it had none.
type digest [sha256.Size]byte

func read[T any](path string, env Env, load func(string, Env) (T, error)) *reading[T] {
	rec := &recorder{env: env, inputs: map[input]digest{}, contents: map[string]content{}}
	r := &reading[T]{inputs: rec.inputs}
	r.value, r.err = load(path, rec)
	return r
}

// holds tells whether a reading now would see the same.
func (r *reading[T]) holds(env Env) bool {
	for in, was := range r.inputs {
		if in.file && digestFile(env.ReadFile(in.name)) != was || !in.file && digestVariable(env.LookupEnv(in.name)) != was {
			return false
		}
	}
	return true
}

func (r *reading[T]) files() []string {
	var names []string
	for in := range r.inputs {
		if in.file {
			names = append(names, in.name)
		}
	}
	return names
}

// recorder notes what a reading looks at, and shows it one state of each file however often it looks.
type recorder struct {
	env      Env
	inputs   map[input]digest
	contents map[string]content
}

type content struct {
	data []byte
	err  error
}

func (r *recorder) LookupEnv(name string) (string, bool) {
	value, ok := r.env.LookupEnv(name)
	r.inputs[input{name: name}] = digestVariable(value, ok)
	return value, ok
}

func (r *recorder) ReadFile(path string) ([]byte, error) {
	seen, ok := r.contents[path]
	if !ok {
		seen.data, seen.err = r.env.ReadFile(path)
		r.contents[path] = seen
		r.inputs[input{name: path, file: true}] = digestFile(seen.data, seen.err)
	}
	return seen.data, seen.err
}

func digestFile(data []byte, err error) digest {
	if err != nil {
		return sha256.Sum256([]byte("\x00" + reason(err)))
	}
	return sha256.Sum256(data)
}

func digestVariable(value string, ok bool) digest {
	if !ok {
		return sha256.Sum256([]byte("\x00"))
	}
	return sha256.Sum256([]byte(value))
}
