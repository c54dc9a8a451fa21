package template

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/osteele/liquid/expressions"
)

// parseExpression parses what stands in {{ }} or after if, unless and case.
func parseExpression(t token) (expressions.Expression, error) {
	return guarded(t, expressions.Parse)
}

// parseStatement parses the arguments of a tag that is no lone expression. The
// selector is one of the library's constants that end in StatementSelector.
func parseStatement(selector string, t token) (*expressions.Statement, error) {
	return guarded(t, func(source string) (*expressions.Statement, error) {
		return expressions.ParseStatement(selector, source)
	})
}

// guarded looks at the source before the library parses it, and makes the
// library's panics errors.
func guarded[T any](t token, parse func(string) (T, error)) (parsed T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault{t.line, panicMessage(v)}
		}
	}()
	if err := inspect(t.body); err != nil {
		return parsed, fault{t.line, err.Error()}
	}
	if parsed, err = parse(t.body); err != nil {
		return parsed, fault{t.line, err.Error()}
	}
	return parsed, nil
}

// panicMessage says for a template's author what the library panicked with. An
// error of the Go runtime is told as it is; it is a flaw of the library.
func panicMessage(v any) string {
	if wrapped, ok := v.(interface{ Cause() error }); ok { // the library's, with a stack trace in its text
		v = wrapped.Cause()
	}
	err, _ := v.(error)
	if number := (*strconv.NumError)(nil); errors.As(err, &number) {
		return fmt.Sprintf("number %s is out of range", number.Num)
	}
	return fmt.Sprint(v)
}

var (
	filterName      = regexp.MustCompile(`^\s*([\pL_][\pL\pN\pM_-]*\??)`)
	propertyFollows = regexp.MustCompile(`^\s*(\[|\.[^.])`)
)

// inspect refuses what the library would take but must not see: filters that
// do not exist or are called wrongly (it finds out only while rendering), deep
// or long expressions, the words by which it marks statements inside, and
// properties of a parenthesis (they reach Go methods: (1..9).AsArray).
func inspect(source string) error {
	if len(source) > maxExpressionBytes {
		return fmt.Errorf("an expression of more than %d bytes", maxExpressionBytes)
	}
	var calls [maxBrackets + 1]call // of filters, open at each depth
	depth, commas := 0, 0
	for i := 0; i < len(source); i++ {
		rest := source[i+1:]
		switch c := source[i]; c {
		case '"', '\'':
			end := strings.IndexByte(rest, c)
			if end < 0 {
				return fmt.Errorf("a string is not closed with %c", c)
			}
			i += 1 + end
		case '(', '[':
			if depth++; depth > maxBrackets {
				return fmt.Errorf("more than %d brackets inside one another", maxBrackets)
			}
		case ')', ']':
			if err := calls[depth].end(); err != nil {
				return err
			}
			depth = max(depth-1, 0) // the parser says what is wrong with a bracket too many
			if c == ')' && propertyFollows.MatchString(rest) {
				return errors.New("a property of a parenthesis; assign it to a variable first")
			}
		case ',':
			calls[depth].arguments++
			if commas++; commas > maxListItems {
				return fmt.Errorf("more than %d items in a list", maxListItems)
			}
		case '|':
			if err := calls[depth].next(rest); err != nil {
				return err
			}
		case '{', '}':
			return fmt.Errorf("unexpected %q; is a closing }} or %%} missing before it?", string(c))
		case '%', ';':
			return fmt.Errorf("unexpected %q", string(c))
		}
	}
	return calls[0].end()
}

// A call is of a filter, while its arguments are counted.
type call struct {
	filter    string // empty: none
	arguments int
}

// next begins the call that source holds after |.
func (c *call) next(source string) error {
	if err := c.end(); err != nil {
		return err
	}
	name := filterName.FindStringSubmatch(source)
	if name == nil {
		return errors.New("a filter's name is missing after |")
	}
	if _, ok := filters[name[1]]; !ok {
		return fmt.Errorf("unknown filter %q", name[1])
	}
	c.filter = name[1]
	if strings.HasPrefix(source[len(name[0]):], ":") {
		c.arguments = 1
	}
	return nil
}

// end is where the arguments of the call end.
func (c *call) end() error {
	ended, f := *c, filters[c.filter]
	*c = call{}
	if ended.filter != "" && (ended.arguments < f.min || ended.arguments > f.max) {
		return fmt.Errorf("filter %q takes %s, not %d", ended.filter, f.takes(), ended.arguments)
	}
	return nil
}
