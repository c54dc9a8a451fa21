package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// FileSuffix ends the name of a variable that says in which file the value of
// another one is, as secrets are handed to containers.
const FileSuffix = "_FILE"

// Read gives the value of a variable, empty where it is not set, and the name
// of the variable that was set: the one asked for, or the one that names its
// file. A line break at the end of a file is no part of the value. The error is
// an *Error; it quotes neither the file nor its name, which may be the secret
// itself.
func Read(lookup func(string) (string, bool), name string) (value, from string, err error) {
	value, _ = lookup(name)
	file, _ := lookup(name + FileSuffix)
	switch {
	case file == "":
		return value, name, nil
	case value != "":
		return "", name, &Error{Variable: name, Problem: "is set twice: " + name + FileSuffix + " is set too"}
	}
	from = name + FileSuffix
	content, err := os.ReadFile(file)
	if err != nil {
		return "", from, &Error{Variable: from, Problem: "the file cannot be read: " + withoutName(err).Error()}
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if value == "" {
		return "", from, &Error{Variable: from, Problem: "the file is empty"}
	}
	return value, from, nil
}

// withoutName is an error about a file without its name.
func withoutName(err error) error {
	if wrong, ok := errors.AsType[*fs.PathError](err); ok {
		return wrong.Err
	}
	return err
}

// Lookup finds variables as os.LookupEnv does, and in files; what is wrong with
// a file is kept in err, once.
func Lookup(lookup func(string) (string, bool), err *error) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, _, wrong := Read(lookup, name)
		if wrong != nil && *err == nil {
			*err = wrong
		}
		return value, value != ""
	}
}
