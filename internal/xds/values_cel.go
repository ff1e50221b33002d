package xds

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/common/ast"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// claimsVariable is what conditions call the verified token's payload.
const claimsVariable = "claims"

// conditionFor is a condition in Envoy's words. Envoy runs another implementation of CEL with a part of its functions; what it lacks or sees
// differently is an error here.
func conditionFor(c *policy.Condition) (*expr.Expr, error) {
	if c.AST == nil {
		return nil, fmt.Errorf("condition %q: has not been parsed", c.Source)
	}
	e, err := ast.ExprToProto(c.AST.Expr())
	if err == nil {
		r := &rewriter{}
		e, err = r.rewrite(e)
	}
	if err != nil {
		return nil, fmt.Errorf("condition %q: %w", c.Source, err)
	}
	return e, nil
}

// functions are those that both implementations have and that mean the same in both.
func functions() []string {
	return []string{
		"_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]", "_?_:_",
		"size", "startsWith", "endsWith", "contains", matches,
	}
}

const matches = "matches"

// rewriter puts the payload in the place of the claims and numbers the parts anew.
type rewriter struct{ id int64 }

func (r *rewriter) node(e *expr.Expr) *expr.Expr {
	r.id++
	e.Id = r.id
	return e
}

func (r *rewriter) rewrite(e *expr.Expr) (*expr.Expr, error) {
	var err error
	switch k := e.GetExprKind().(type) {
	case *expr.Expr_IdentExpr:
		if k.IdentExpr.GetName() != claimsVariable {
			return nil, fmt.Errorf("knows no variable %q: only %q", k.IdentExpr.GetName(), claimsVariable)
		}
		return r.path(tokenNamespace, payloadKey), nil
	case *expr.Expr_ConstExpr:
		err = plainConstant(k.ConstExpr)
	case *expr.Expr_SelectExpr:
		nested := k.SelectExpr.GetOperand().GetIdentExpr() == nil
		k.SelectExpr.Operand, err = r.rewrite(k.SelectExpr.GetOperand())
		if err == nil && nested && k.SelectExpr.GetTestOnly() {
			return r.present(k.SelectExpr), nil
		}
	case *expr.Expr_CallExpr:
		if err = r.call(k.CallExpr); err == nil && k.CallExpr.GetFunction() == matches {
			return r.guarded(k.CallExpr)
		}
	case *expr.Expr_ListExpr:
		err = r.list(k.ListExpr)
	default:
		err = fmt.Errorf("uses macros or literals that Envoy does not evaluate: write it with %q over lists, fields and constants", functions())
	}
	if err != nil {
		return nil, err
	}
	return r.node(e), nil
}

func (r *rewriter) call(c *expr.Expr_Call) error {
	if !slices.Contains(functions(), c.GetFunction()) {
		return fmt.Errorf("uses %q, which Envoy does not evaluate as the gateway does: it may use %q", c.GetFunction(), functions())
	}
	if c.GetTarget() != nil {
		target, err := r.rewrite(c.GetTarget())
		if err != nil {
			return err
		}
		c.Target = target
	}
	return r.all(c.GetArgs())
}

// guarded asks first whether there is a text to match. Envoy gives up the whole condition where there is none, not only this part of it.
func (r *rewriter) guarded(c *expr.Expr_Call) (*expr.Expr, error) {
	operands := c.GetArgs()
	if c.GetTarget() != nil {
		operands = append([]*expr.Expr{c.GetTarget()}, operands...)
	}
	switch {
	case len(operands) != 2:
		return nil, fmt.Errorf("calls %q with %d operands: it needs a text and a regular expression", matches, len(operands))
	case operands[1].GetConstExpr() == nil:
		return nil, fmt.Errorf("uses %q with an expression that is no constant: Envoy takes small ones only, so it must be known before", matches)
	case uses(operands[0], matches):
		return nil, fmt.Errorf("uses %q within the text of another", matches)
	}
	isText := r.on(r.copied(operands[0]), "startsWith", r.text(""))
	return r.apply("_?_:_", isText, r.on(operands[0], matches, operands[1]), r.falsehood()), nil
}

// present asks first whether there is something to look into: in a text or a number nothing is present. Envoy would take it for an error, as both take
// a list.
func (r *rewriter) present(s *expr.Expr_Select) *expr.Expr {
	sameType := func(as *expr.Expr) *expr.Expr {
		return r.apply("_==_", r.apply("type", r.copied(s.GetOperand())), r.apply("type", as))
	}
	emptyList := r.node(&expr.Expr{ExprKind: &expr.Expr_ListExpr{ListExpr: &expr.Expr_CreateList{}}})
	inside := r.apply("_||_", sameType(r.path(tokenNamespace, payloadKey)), sameType(emptyList))
	return r.apply("_?_:_", inside, r.has(s.GetOperand(), s.GetField()), r.falsehood())
}

func (r *rewriter) falsehood() *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_BoolValue{}}}})
}

// copied is an expression again, under other numbers.
func (r *rewriter) copied(e *expr.Expr) *expr.Expr {
	out := proto.CloneOf(e)
	for _, part := range parts(out) {
		r.node(part)
	}
	return out
}

func uses(e *expr.Expr, function string) bool {
	return slices.ContainsFunc(parts(e), func(part *expr.Expr) bool { return part.GetCallExpr().GetFunction() == function })
}

// parts are an expression and all that it consists of, as far as the rewriter lets it pass.
func parts(e *expr.Expr) []*expr.Expr {
	if e == nil {
		return nil
	}
	out := append([]*expr.Expr{e}, parts(e.GetCallExpr().GetTarget())...)
	out = append(out, parts(e.GetSelectExpr().GetOperand())...)
	for _, inner := range slices.Concat(e.GetCallExpr().GetArgs(), e.GetListExpr().GetElements()) {
		out = append(out, parts(inner)...)
	}
	return out
}

func (r *rewriter) list(l *expr.Expr_CreateList) error {
	if len(l.GetOptionalIndices()) > 0 {
		return errors.New("uses optional elements of a list, which Envoy does not evaluate")
	}
	return r.all(l.GetElements())
}

func (r *rewriter) all(es []*expr.Expr) error {
	for i := range es {
		e, err := r.rewrite(es[i])
		if err != nil {
			return err
		}
		es[i] = e
	}
	return nil
}

func plainConstant(c *expr.Constant) error {
	switch c.GetConstantKind().(type) {
	case *expr.Constant_NullValue, *expr.Constant_BoolValue, *expr.Constant_Int64Value, *expr.Constant_Uint64Value, *expr.Constant_DoubleValue, *expr.Constant_StringValue:
		return nil
	default:
		return errors.New("has a constant that no claim can be: use strings, numbers, booleans or null")
	}
}

// path is an entry of the dynamic metadata: metadata.filter_metadata[namespace][key].
func (r *rewriter) path(namespace, key string) *expr.Expr {
	return r.apply("_[_]", r.apply("_[_]", r.member(r.ident("metadata"), "filter_metadata"), r.text(namespace)), r.text(key))
}

func (r *rewriter) ident(name string) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_IdentExpr{IdentExpr: &expr.Expr_Ident{Name: name}}})
}

func (r *rewriter) member(of *expr.Expr, name string) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_SelectExpr{SelectExpr: &expr.Expr_Select{Operand: of, Field: name}}})
}

// has tells whether there is such a member.
func (r *rewriter) has(of *expr.Expr, name string) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_SelectExpr{SelectExpr: &expr.Expr_Select{Operand: of, Field: name, TestOnly: true}}})
}

func (r *rewriter) apply(function string, args ...*expr.Expr) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Function: function, Args: args}}})
}

func (r *rewriter) on(target *expr.Expr, function string, args ...*expr.Expr) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Target: target, Function: function, Args: args}}})
}

func (r *rewriter) text(s string) *expr.Expr {
	return r.node(&expr.Expr{ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_StringValue{StringValue: s}}}})
}
