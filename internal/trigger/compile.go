package trigger

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What evaluating an expression may take. The steps are those of CEL's cost
// model; the time, of all expressions of a trigger together, is for what that
// underrates. A value is as large as its elements at any depth, and every ten
// bytes of text.
const (
	maxSteps = 1_500_000
	maxTime  = time.Second
	maxValue = 500_000

	maxNesting      = 50   // of an expression
	maxRegexProgram = 200  // instructions
	turnsPerCheck   = 16   // of loops, for the time
	turnsPerSize    = 1000 // for the size of what loops build
)

// A Program is a trigger whose expressions are compiled. It is safe for
// concurrent use.
type Program struct {
	*Definition
	condition *expression // nil: always
	to        *expression
	data      *expression // nil: none
	broken    error       // what every event comes to, where they do not compile
}

// An expression is one part of a trigger, compiled.
type expression struct {
	part    string
	source  *ast.SourceInfo
	program cel.Program
}

// Compile compiles the expressions of a trigger. What is wrong with them is a
// CodeInvalid that names each part with line and column.
func Compile(d *Definition) (*Program, error) {
	var c compiler
	p := &Program{Definition: d, to: c.compile("to", d.To, wantsRecipients, types.StringKind, types.MapKind, types.ListKind)}
	if d.Condition != "" {
		p.condition = c.compile("condition", d.Condition, "true or false", types.BoolKind)
	}
	if d.Data != "" {
		p.data = c.compile("data", d.Data, wantsObject, types.MapKind, types.StructKind)
	}
	if c.faults != nil {
		return nil, &notify.Error{Code: notify.CodeInvalid, Fields: c.faults}
	}
	return p, nil
}

// What parts must come to, for error texts.
const (
	wantsRecipients = `a user id, a recipient such as {"email": ...}, or a list of these`
	wantsObject     = "an object"
)

// A compiler collects what is wrong.
type compiler struct{ faults []notify.FieldError }

// maxFaults is how many faults of an expression are told.
const maxFaults = 3

// compile compiles a part that must come to one of some kinds, or to what is
// only known at run time.
func (c *compiler) compile(part, source, wants string, kinds ...types.Kind) *expression {
	add := func(message string) {
		c.faults = append(c.faults, notify.FieldError{Location: "body." + part, Message: message})
	}
	if strings.TrimSpace(source) == "" {
		add("must not be empty")
		return nil
	}
	checked, faults := check(source)
	for _, fault := range faults[:min(len(faults), maxFaults)] {
		add(fault)
	}
	if faults != nil {
		return nil
	}
	if t := checked.OutputType(); !allowed(t, kinds) {
		add(fmt.Sprintf("comes to %s, and must come to %s", cel.FormatCELType(t), wants))
		return nil
	}
	program, err := environment().Program(checked,
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost),
		cel.CostLimit(maxSteps),
		cel.CostTrackerOptions(cost.OverloadTracker(overloads.Equals, comparison), cost.OverloadTracker(overloads.NotEquals, comparison)),
		cel.MemoryTracking(types.MemoryTrackerSizeCalculator(sizes), types.MemoryTrackerSampleInterval(turnsPerSize)),
		cel.MemoryLimit(maxValue),
		cel.InterruptCheckFrequency(turnsPerCheck))
	if err != nil {
		add(short(err.Error()))
		return nil
	}
	return &expression{part: part, source: checked.NativeRep().SourceInfo(), program: program}
}

// sizes measures values as deep and as far as they may go.
var sizes = types.NewSizeCalculator(types.SizeCalculatorMaxDepth(maxValue), types.SizeCalculatorMaxTraversal(maxValue))

// comparison is what comparing two values takes. CEL's own model underrates
// those with many elements.
func comparison(values []ref.Val, _ ref.Val) *uint64 {
	steps := 1 + uint64(min(sizes.AggregateSize(values[0]), sizes.AggregateSize(values[1])))
	return &steps
}

func allowed(t *cel.Type, kinds []types.Kind) bool {
	switch {
	case t.Kind() == types.DynKind || t.Kind() == types.TypeParamKind:
		return true
	case t.Kind() == types.ListKind && slices.Contains(kinds, types.ListKind):
		element := t.Parameters()[0]
		return element.Kind() != types.ListKind && allowed(element, kinds)
	}
	return slices.Contains(kinds, t.Kind())
}

// maxMessage is how many bytes of the library's messages are told: they may
// quote an expression.
const maxMessage = 300

func short(message string) string {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return message
}

// at is a message with its place, where that is known.
func at(place common.Location, message string) string {
	if place.Line() < 1 {
		return short(message)
	}
	return fmt.Sprintf("line %d, column %d: %s", place.Line(), place.Column()+1, short(message))
}

// environment is what expressions see, and what they may do.
var environment = sync.OnceValue(func() *cel.Env {
	env, err := cel.NewEnv(
		cel.Types(cel.NativeTypeFor[seen](types.ParseStructTag("json"), cel.NativeTypeAlias("Event"))),
		cel.Variable("event", cel.ObjectType("Event")),
		cel.Variable("now", cel.TimestampType),
		ext.Strings(ext.StringsVersion(5)),
		cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), cel.ValidateRegexLiterals()),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxNesting))
	if err != nil { // all of it is constant
		panic(err)
	}
	return env
})

// check parses an expression and checks its types, or says what is wrong where.
func check(source string) (*cel.Ast, []string) {
	parsed, issues := environment().Parse(source)
	if issues.Err() != nil {
		return nil, faultsOf(issues)
	}
	var faults []string
	tree := parsed.NativeRep()
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if id, message := boundless(e); message != "" {
			faults = append(faults, at(tree.SourceInfo().GetStartLocation(id), message))
		}
	}))
	if faults != nil {
		return nil, faults
	}
	checked, issues := environment().Check(parsed)
	if issues.Err() != nil {
		return nil, faultsOf(issues)
	}
	return checked, nil
}

func faultsOf(issues *cel.Issues) []string {
	var faults []string
	for _, e := range issues.Errors() {
		faults = append(faults, at(e.Location, e.Message))
	}
	return faults
}

// boundless finds what may take time out of all proportion that no limit would
// end: functions whose work is counted when it is done, and keys whose type is
// that of an object, since the types of objects in objects can double with each
// step. The message is empty where there is nothing.
func boundless(e ast.Expr) (id int64, message string) {
	if e.Kind() == ast.CallKind {
		switch name := e.AsCall().FunctionName(); name {
		case "format", "indexOf", "join", "lastIndexOf", "replace", "strings.quote":
			return e.ID(), name + " is not offered here: a template can shape the text"
		}
	}
	if e.Kind() == ast.MapKind {
		for _, entry := range e.AsMap().Entries() {
			if key := entry.AsMapEntry().Key(); key.Kind() != ast.LiteralKind {
				return key.ID(), "a key must be a literal, such as 'film'"
			}
		}
	}
	return 0, ""
}
