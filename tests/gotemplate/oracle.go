//go:build ignore

// Renews the outputs in facts.json: what Go's text/template and sprig make of our own templates.
//
//	mkdir /tmp/oracle && cp tests/gotemplate/oracle.go /tmp/oracle/main.go && cd /tmp/oracle
//	sed -i '/go:build ignore/d' main.go && go mod init oracle && go get github.com/Masterminds/sprig/v3@v3.3.0
//	go run . < facts.json > renewed.json
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

type fact struct {
	Template string  `json:"template"`
	Output   *string `json:"output"`
	Error    string  `json:"error,omitempty"`
}

type facts struct {
	Source string          `json:"source"`
	Data   json.RawMessage `json:"data"`
	Facts  []fact          `json:"facts"`
}

// Go reads every JSON number as float64; our data hold ints too.
func withInts(value interface{}) interface{} {
	switch typed := value.(type) {
	case json.Number:
		if strings.ContainsAny(typed.String(), ".eE") {
			number, _ := typed.Float64()
			return number
		}
		number, _ := typed.Int64()
		return int(number)
	case []interface{}:
		for i := range typed {
			typed[i] = withInts(typed[i])
		}
	case map[string]interface{}:
		for key := range typed {
			typed[key] = withInts(typed[key])
		}
	}
	return value
}

func render(source string, data json.RawMessage) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value interface{}
	if err := decoder.Decode(&value); err != nil {
		return "", err
	}
	parsed, err := template.New("t").Funcs(sprig.TxtFuncMap()).Option("missingkey=zero").Parse(source)
	if err != nil {
		return "", err
	}
	var output bytes.Buffer
	err = parsed.Execute(&output, withInts(value))
	return output.String(), err
}

func main() {
	var all facts
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		panic(err)
	}
	for i := range all.Facts {
		each := &all.Facts[i]
		output, err := render(each.Template, all.Data)
		each.Output, each.Error = &output, ""
		if err != nil {
			each.Output, each.Error = nil, err.Error()
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(all); err != nil {
		panic(err)
	}
}
