package policy

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	matches       = "matches"
	maxExpression = 4096
	maxDepth      = 50
	// maxCost bounds what one evaluation may do, in units of CEL's own. Without comprehensions only the sizes of claims matter.
	maxCost = 1_000_000
	// maxRegex is the program size of the largest regular expression that Envoy takes.
	maxRegex = 100
)

// conditions compiles expressions.
type conditions struct{ env *cel.Env }

func newConditions() (*conditions, error) {
	env, err := cel.NewCustomEnv(
		cel.StdLib(), cel.ClearMacros(), cel.Macros(cel.HasMacro),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxDepth),
	)
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	return &conditions{env: env}, nil
}

// compile returns the condition, or what is wrong with it.
func (c *conditions) compile(source string) (*Condition, []string) {
	if strings.TrimSpace(source) == "" {
		return nil, []string{"is empty; it must be a CEL expression over claims"}
	}
	parsed, issues := c.env.Parse(source)
	if issues.Err() != nil {
		return nil, messages(issues)
	}
	if problems := unsupported(parsed.NativeRep()); len(problems) > 0 {
		return nil, problems
	}
	checked, issues := c.env.Check(parsed)
	if issues.Err() != nil {
		return nil, messages(issues)
	}
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) && !t.IsExactType(types.DynType) {
		return nil, []string{fmt.Sprintf("must be true or false; its value is of type %s", t)}
	}
	program, err := c.env.Program(checked, cel.CostLimit(maxCost))
	if err != nil {
		return nil, []string{err.Error()}
	}
	return &Condition{Source: source, AST: checked.NativeRep(), program: program}, nil
}

func messages(issues *cel.Issues) []string {
	var out []string
	for _, e := range issues.Errors() {
		out = append(out, fmt.Sprintf("at %d:%d of the expression: %s", e.Location.Line(), e.Location.Column()+1, firstLine(e.Message)))
	}
	return out
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// unsupported lists what the engines that enforce policies cannot do, or do otherwise than this one. Envoy's own evaluator has no comprehensions,
// hence none of the macros over lists and maps, and neither concatenation nor conversion of strings.
func unsupported(tree *ast.AST) []string {
	var out []string
	refuse := func(e ast.Expr, format string, args ...any) {
		at := tree.SourceInfo().GetStartLocation(e.ID())
		out = append(out, fmt.Sprintf("at %d:%d of the expression: ", at.Line(), at.Column()+1)+fmt.Sprintf(format, args...))
	}
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.CallKind:
			if problem := unsupportedCall(e.AsCall()); problem != "" {
				refuse(e, "%s", problem)
			}
			if call := e.AsCall(); call.FunctionName() == matches && nested(tree, call) {
				refuse(e, "the text of matches must not come from another matches")
			}
		case ast.MapKind, ast.StructKind:
			refuse(e, "values of claims can be compared with strings, numbers, true, false, null and lists only")
		case ast.ComprehensionKind:
			refuse(e, "macros over lists are not available")
		case ast.LiteralKind:
			if _, ok := e.AsLiteral().(types.Bytes); ok {
				refuse(e, "no claim has bytes; write a string")
			}
		case ast.IdentKind:
			if e.AsIdent() != "claims" {
				refuse(e, "%s is not known; the one variable is claims", e.AsIdent())
			}
		case ast.ListKind, ast.SelectKind, ast.UnspecifiedExprKind:
		}
	}))
	return out
}

// nested tells whether one of the call's operands calls the same function.
func nested(tree *ast.AST, call ast.CallExpr) bool {
	operands := call.Args()
	if call.IsMemberFunction() {
		operands = append([]ast.Expr{call.Target()}, operands...)
	}
	return slices.ContainsFunc(operands, func(e ast.Expr) bool {
		return len(ast.MatchDescendants(ast.NavigateExpr(tree, e), ast.FunctionMatcher(call.FunctionName()))) > 0
	})
}

func unsupportedCall(call ast.CallExpr) string {
	name := call.FunctionName()
	switch name {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.Index, operators.In,
		operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		"size", "startsWith", "endsWith", "contains":
		return ""
	case matches:
		args := call.Args()
		if len(args) == 0 || args[len(args)-1].Kind() != ast.LiteralKind {
			return "matches needs its regular expression as a string literal"
		}
		return unsupportedRegex(args[len(args)-1].AsLiteral())
	case operators.Exists, operators.All, operators.ExistsOne, operators.Map, operators.Filter:
		return fmt.Sprintf(`%s is not available, as Envoy evaluates no macros over lists; to look for a value in one, write "value" in claims.name`, name)
	}
	if symbol, ok := operators.FindReverse(name); ok && symbol != "" {
		return fmt.Sprintf("the operator %s is not available; use comparisons, in, &&, ||, ! and ?:", symbol)
	}
	return fmt.Sprintf("the function %s is not available; use size, startsWith, endsWith, contains, matches, has and in", name)
}

func unsupportedRegex(literal ref.Val) string {
	text, ok := literal.(types.String)
	if !ok {
		return ""
	}
	parsed, err := syntax.Parse(string(text), syntax.Perl)
	if err != nil {
		return fmt.Sprintf("%q is not a regular expression: %v", string(text), err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Sprintf("%q is not a regular expression: %v", string(text), err)
	}
	if size := programSize(program); size > maxRegex {
		return fmt.Sprintf("the regular expression %q is too large for Envoy (%d of at most %d instructions); use startsWith, endsWith, contains or a smaller one",
			string(text), size, maxRegex)
	}
	return ""
}

// programSize is at least what the expression takes in an engine that works on bytes, where a range of characters becomes several of bytes.
func programSize(program *syntax.Prog) int {
	const unanchored, wide = 6, 12
	size := unanchored
	for i := range program.Inst {
		inst := &program.Inst[i]
		size++
		switch inst.Op { //nolint:exhaustive // the others are one instruction everywhere
		case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			size += wide
		case syntax.InstRune1, syntax.InstRune:
			for pair := range slices.Chunk(inst.Rune, 2) {
				if last := pair[len(pair)-1]; last < utf8.RuneSelf && !foldsWide(inst, last) {
					size++
				} else {
					size += wide
				}
			}
		}
	}
	return size
}

// foldsWide tells whether the letter, with case ignored, is also one outside of ASCII, as k is the Kelvin sign.
func foldsWide(inst *syntax.Inst, letter rune) bool {
	if len(inst.Rune) != 1 || syntax.Flags(inst.Arg)&syntax.FoldCase == 0 {
		return false
	}
	for c := unicode.SimpleFold(letter); c != letter; c = unicode.SimpleFold(c) {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// holds tells whether the condition is true of the claims. What cannot be evaluated is not.
func (c *Condition) holds(claims map[string]any) bool {
	if claims == nil {
		claims = map[string]any{}
	}
	out, _, err := c.program.Eval(map[string]any{"claims": claims})
	return err == nil && out == types.True
}
