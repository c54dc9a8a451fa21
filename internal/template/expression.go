package template

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

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

// parseAlternatives parses what stands after when: expressions with commas or
// the word "or" between them. The library could, but copies the rest of the
// list for each.
func parseAlternatives(t token) ([]expressions.Expression, error) {
	sources := alternatives(t.body)
	if len(sources) > maxTags {
		return nil, faultf(t.line, "more than %d values to choose from", maxTags)
	}
	var all []expressions.Expression
	for _, source := range sources {
		alternative := t
		alternative.body = strings.TrimSpace(source)
		x, err := parseExpression(alternative)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

func alternatives(source string) []string {
	var all []string
	start := 0
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case c == '"' || c == '\'':
			i += 1 + max(strings.IndexByte(source[i+1:], c), 0)
		case c == ',':
			all = append(all, source[start:i])
			start = i + 1
		case isWordByte(c):
			word := i
			for i+1 < len(source) && isWordByte(source[i+1]) {
				i++
			}
			if source[word:i+1] == "or" {
				all = append(all, source[start:word])
				start = i + 1
			}
		}
	}
	return append(all, source[start:])
}

// isWordByte is true within names and what hangs on them: a.or-b?
func isWordByte(c byte) bool {
	return c >= utf8.RuneSelf || c == '_' || c == '-' || c == '.' || c == '?' ||
		'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// parseCycle parses what stands after cycle: texts with commas between them,
// behind the name of a group and a colon or not. The library could, but copies
// the rest of the list for each.
func parseCycle(t token) (group string, texts []string, err error) {
	for rest, end := t.body, ","; end != ""; {
		found := quoted.FindStringSubmatch(rest)
		if found == nil {
			return "", nil, errCycle(t)
		}
		rest, end = rest[len(found[0]):], found[3]
		text := found[1] + found[2]
		switch {
		case end != ":":
			texts = append(texts, text)
		case group == "" && texts == nil:
			group = text
		default:
			return "", nil, errCycle(t)
		}
		if end == "" && rest != "" {
			return "", nil, errCycle(t)
		}
	}
	return group, texts, nil
}

func errCycle(t token) error {
	return fault{t.line, "cycle takes texts in quotes, with commas between them"}
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
	parsed, err = parse(t.body)
	if err == nil {
		return parsed, nil
	}
	message := err.Error()
	if strings.HasPrefix(message, "syntax error in ") { // the library quotes its own marks too
		message = fmt.Sprintf("syntax error in %q", t.body)
	}
	return parsed, fault{t.line, message}
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
	quoted          = regexp.MustCompile(`^\s*(?:"([^"]*)"|'([^']*)')\s*([:,]?)`)
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
	depth := 0
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
