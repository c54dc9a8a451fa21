package template

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/osteele/liquid/expressions"
)

// A parser makes nodes of tokens.
type parser struct {
	tokens []token
	blocks int // open now
	loops  int // open now
	values int // after all when
}

// parse makes the nodes of one part. Errors are of type fault.
func parse(source string) ([]node, error) {
	if len(source) > maxSourceBytes {
		return nil, faultf(1, "the source is longer than %d bytes", maxSourceBytes)
	}
	if !utf8.ValidString(source) {
		return nil, faultf(1, "the source is not valid UTF-8")
	}
	tokens, err := scan(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	nodes, _, err := p.block(token{})
	return nodes, err
}

// block parses up to a tag with one of the names in ends, which is returned,
// or to the end of the source if there are none. open is the tag that began
// the block.
func (p *parser) block(open token, ends ...string) ([]node, token, error) {
	if p.blocks++; p.blocks > maxBlocks {
		return nil, token{}, faultf(open.line, "more than %d blocks inside one another", maxBlocks)
	}
	defer func() { p.blocks-- }()
	var nodes []node
	for len(p.tokens) > 0 {
		t := p.tokens[0]
		p.tokens = p.tokens[1:]
		if t.kind == tagToken && slices.Contains(ends, t.name) {
			return nodes, t, nil
		}
		n, err := p.node(t)
		if err != nil {
			return nil, token{}, err
		}
		nodes = append(nodes, n)
	}
	if len(ends) > 0 {
		return nil, token{}, faultf(open.line, "%q is not closed with %q", open.name, "end"+open.name)
	}
	return nodes, token{}, nil
}

func (p *parser) node(t token) (node, error) {
	switch t.kind {
	case textToken:
		return literal(t.body), nil
	case outputToken:
		value, err := parseExpression(t)
		return &output{t.line, value}, err
	default:
		return p.tag(t)
	}
}

func (p *parser) tag(t token) (node, error) {
	switch t.name {
	case "if", "unless":
		return p.conditional(t)
	case "case":
		return p.choice(t)
	case "for", "tablerow":
		return p.loop(t)
	case "break", "continue":
		if p.loops == 0 {
			return nil, faultf(t.line, "%q outside a loop", t.name)
		}
		return jump{t.name == "break"}, nil
	case "capture":
		return p.capture(t)
	case "assign":
		return p.assignment(t)
	case "cycle":
		return p.cycle(t)
	case "include", "render":
		return nil, faultf(t.line, "%q is not available: a template stands alone", t.name)
	case "else", "elsif", "when":
		return nil, faultf(t.line, "%q is out of place", t.name)
	}
	if strings.HasPrefix(t.name, "end") {
		return nil, faultf(t.line, "%q closes nothing", t.name)
	}
	return nil, faultf(t.line, "unknown tag %q", t.name)
}

func (p *parser) conditional(t token) (node, error) {
	test, err := parseExpression(t)
	if err != nil {
		return nil, err
	}
	if t.name == "unless" {
		test = expressions.Not(test)
	}
	c := &conditional{}
	for line, ends := t.line, []string{"elsif", "else", "end" + t.name}; ; {
		body, end, err := p.block(t, ends...)
		if err != nil {
			return nil, err
		}
		c.branches = append(c.branches, branch{line, test, body})
		line, test = end.line, nil
		switch end.name {
		case "elsif":
			if test, err = parseExpression(end); err != nil {
				return nil, err
			}
		case "else":
			ends = ends[2:]
		default:
			return c, nil
		}
	}
}

func (p *parser) choice(t token) (node, error) {
	value, err := parseExpression(t)
	if err != nil {
		return nil, err
	}
	c := &choice{line: t.line, value: value}
	ends := []string{"when", "else", "endcase"}
	_, end, err := p.block(t, ends...) // what stands before the first when is never shown
	for {
		if err != nil {
			return nil, err
		}
		o := option{line: end.line}
		switch end.name {
		case "when":
			if o.values, err = parseAlternatives(end); err != nil {
				return nil, err
			}
			if p.values += len(o.values); p.values > maxTags {
				return nil, faultf(end.line, "more than %d values to choose from", maxTags)
			}
		case "else":
			ends = ends[2:]
		default:
			return c, nil
		}
		o.body, end, err = p.block(t, ends...)
		c.options = append(c.options, o)
	}
}

func (p *parser) loop(t token) (node, error) {
	statement, err := parseStatement(expressions.LoopStatementSelector, t)
	if err != nil {
		return nil, err
	}
	l := &loop{line: t.line, table: t.name == "tablerow", Loop: statement.Loop}
	p.loops++
	body, end, err := p.block(t, "else", "end"+t.name)
	p.loops--
	l.body = body
	if err == nil && end.name == "else" {
		l.none, _, err = p.block(t, "end"+t.name)
	}
	return l, err
}

func (p *parser) capture(t token) (node, error) {
	if t.body == "" || filterName.FindString(t.body) != t.body {
		return nil, faultf(t.line, "capture takes the name of one variable, not %q", t.body)
	}
	body, _, err := p.block(t, "endcapture")
	return &capture{t.line, t.body, body}, err
}

func (p *parser) assignment(t token) (node, error) {
	statement, err := parseStatement(expressions.AssignStatementSelector, t)
	if err != nil {
		return nil, err
	}
	if len(statement.Path) != 1 {
		return nil, faultf(t.line, "assign takes the name of a variable, not of a property")
	}
	return &assignment{t.line, statement.Path[0], statement.ValueFn}, nil
}

func (p *parser) cycle(t token) (node, error) {
	group, texts, err := parseCycle(t)
	if group == "" {
		group = fmt.Sprintf("%q", texts)
	}
	return &cycle{t.line, group, texts}, err
}
