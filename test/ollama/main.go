// Reads Modelfiles as Ollama does and renders chats by their templates: ollama < jobs.json > answers.json
//
//	jobs:    [{"modelfile": FILE, "messages": [{"role": ROLE, "content": TEXT}, ...]}, ...]
//	answers: [{"commands": [[NAME, VALUE], ...], "parameters": {NAME: VALUE}, "files": [FILE of FROM or ADAPTER, ...],
//	           "prompt": what the model is given}, ...]
//
// The parts of Ollama that are used here have no C++: the whole program is tried by hand (docs/exports.md).
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ollama/ollama/api"
	"github.com/ollama/ollama/parser"
	"github.com/ollama/ollama/template"
)

type job struct {
	Modelfile string        `json:"modelfile"`
	Messages  []api.Message `json:"messages"`
}

type answer struct {
	Commands   [][2]string    `json:"commands"`
	Parameters map[string]any `json:"parameters"`
	Files      []string       `json:"files"`
	Prompt     string         `json:"prompt"`
}

func run(one job) (*answer, error) {
	file, err := os.Open(one.Modelfile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parsed, err := parser.ParseFile(file)
	if err != nil {
		return nil, err
	}
	// What `ollama create` sends to its server.
	request, err := parsed.CreateRequest(filepath.Dir(one.Modelfile))
	if err != nil {
		return nil, err
	}
	made := answer{Parameters: request.Parameters}
	for _, command := range parsed.Commands {
		made.Commands = append(made.Commands, [2]string{command.Name, command.Args})
	}
	for _, digests := range []map[string]string{request.Files, request.Adapters} {
		for name := range digests {
			made.Files = append(made.Files, filepath.Base(name))
		}
	}
	slices.Sort(made.Files)
	read, err := template.Parse(request.Template)
	if err != nil {
		return nil, err
	}
	var prompt bytes.Buffer
	if err := read.Execute(&prompt, template.Values{Messages: one.Messages}); err != nil {
		return nil, err
	}
	made.Prompt = prompt.String()
	return &made, nil
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := []*answer{}
	for _, one := range jobs {
		made, err := run(one)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", one.Modelfile, err)
			os.Exit(1)
		}
		answers = append(answers, made)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
