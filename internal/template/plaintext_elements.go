package template

import "golang.org/x/net/html/atom"

// isUnseen says whether what is in an element is never shown.
func isUnseen(tag atom.Atom) bool {
	switch tag {
	case atom.Script, atom.Style, atom.Template, atom.Title:
		return true
	}
	return false
}

// isVoid says whether an element has no end tag (HTML standard, 13.1.2).
func isVoid(tag atom.Atom) bool {
	switch tag {
	case atom.Area, atom.Base, atom.Br, atom.Col, atom.Embed, atom.Hr, atom.Img,
		atom.Input, atom.Link, atom.Meta, atom.Source, atom.Track, atom.Wbr:
		return true
	}
	return false
}

// breaksAround is how many line breaks come before and after an element.
func (p *plain) breaksAround(tag atom.Atom) int {
	switch tag {
	case atom.Ol, atom.Ul:
		if len(p.lists) > 0 { // inside another one
			return 1
		}
		return 2
	case atom.Blockquote, atom.Dl, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6,
		atom.P, atom.Pre, atom.Table:
		return 2
	case atom.Address, atom.Article, atom.Aside, atom.Body, atom.Caption, atom.Center,
		atom.Dd, atom.Div, atom.Dt, atom.Fieldset, atom.Figcaption, atom.Figure, atom.Footer,
		atom.Form, atom.Header, atom.Hr, atom.Li, atom.Main, atom.Nav, atom.Section, atom.Tr:
		return 1
	}
	return 0
}
