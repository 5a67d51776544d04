// SPDX-License-Identifier: Apache-2.0

// What structured-merge-diff makes of a sequence of applies and updates, for the
// comparison with lib/api/managed*.c. A case per line of stdin:
//
//	{"schema": "<types in its own YAML>", "type": "root", "ops": [
//	  {"op": "apply"|"update", "manager": "a", "force": false, "object": {...}}]}
//
// A line of stdout for each: [{"live": {...}, "owners": {"a apply": {fieldsV1}},
// "conflicts": ["a apply .spec.x"], "error": "..."}]. A step that fails leaves everything
// as it was. What the API server's wrappers do around the library is done here too:
// objects without owners are owned by before-first-apply at their first apply, and are not
// tracked before it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"

	"sigs.k8s.io/structured-merge-diff/v4/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v4/merge"
	"sigs.k8s.io/structured-merge-diff/v4/typed"
	"sigs.k8s.io/structured-merge-diff/v4/value"
)

type sameVersion struct{}

func (sameVersion) Convert(v *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return v, nil
}
func (sameVersion) IsMissingVersionError(error) bool { return false }

type op struct {
	Op, Manager string
	Force       bool
	Schema      *string // from here on
	Object      json.RawMessage
}
type testCase struct {
	Schema, Type string
	Ops          []op
}
type result struct {
	Live      interface{}                `json:"live"`
	Owners    map[string]json.RawMessage `json:"owners"`
	Conflicts []string                   `json:"conflicts"`
	Error     string                     `json:"error"`
}

type state struct {
	updater merge.Updater
	kind    typed.ParseableType
	exists  bool
	live    *typed.TypedValue
	owners  fieldpath.ManagedFields
}

func (s *state) step(o op) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if o.Schema != nil {
		return s.change(*o.Schema)
	}
	v, err := value.FromJSON(o.Object)
	if err != nil {
		return err
	}
	object, err := s.kind.FromUnstructured(v.Unstructured())
	if err != nil {
		return err
	}
	owners, live := s.owners.Copy(), s.live
	manager := o.Manager + " " + o.Op
	if o.Op == "update" {
		if !s.exists || len(owners) > 0 {
			live, owners, err = s.updater.Update(live, object, "v1", owners, manager)
		} else {
			live = object
		}
	} else {
		if s.exists && len(owners) == 0 {
			empty, _ := s.kind.FromUnstructured(map[string]interface{}{})
			_, owners, err = s.updater.Update(empty, live, "v1", owners, "before-first-apply update")
			if err != nil {
				return err
			}
		}
		var next *typed.TypedValue
		next, owners, err = s.updater.Apply(live, object, "v1", owners, manager, o.Force)
		if next != nil {
			live, _ = s.kind.FromUnstructured(emptied(plain(next), plain(live), plain(object)))
		}
	}
	if err == nil {
		s.live, s.owners, s.exists = live, owners, true
	}
	return err
}

func plain(v *typed.TypedValue) interface{} { return v.AsValue().Unstructured() }

// What lost its last member to pruning is null in the library's result; here it becomes what
// it was, so that the steps after it start from the same state on both sides. (Not below
// lists; the comparison ends where a null is left.)
func emptied(v, live, config interface{}) interface{} {
	if v == nil {
		for _, old := range []interface{}{live, config} {
			switch old.(type) {
			case map[string]interface{}:
				return map[string]interface{}{}
			case []interface{}:
				return []interface{}{}
			}
		}
		return map[string]interface{}{}
	}
	m, ok := v.(map[string]interface{})
	if !ok {
		return v
	}
	l, _ := live.(map[string]interface{})
	c, _ := config.(map[string]interface{})
	out := map[string]interface{}{}
	for k, item := range m {
		out[k] = item
		if _, inLive := l[k]; item == nil && !inLive {
			if _, inConfig := c[k]; !inConfig {
				continue
			}
		}
		out[k] = emptied(item, l[k], c[k])
	}
	return out
}

func (s *state) change(schema string) error {
	parser, err := typed.NewParser(typed.YAMLObject(schema))
	if err != nil {
		return err
	}
	s.kind = parser.Type("root")
	s.live, err = s.kind.FromUnstructured(s.live.AsValue().Unstructured())
	return err
}

func (s *state) report(err error) result {
	r := result{Live: s.live.AsValue().Unstructured(), Owners: map[string]json.RawMessage{}, Conflicts: []string{}}
	for name, set := range s.owners {
		text, fail := set.Set().ToJSON()
		if fail != nil {
			panic(fail)
		}
		r.Owners[name] = text
	}
	var conflicts merge.Conflicts
	if errors.As(err, &conflicts) {
		for _, c := range conflicts {
			r.Conflicts = append(r.Conflicts, c.Manager+" "+c.Path.String())
		}
		sort.Strings(r.Conflicts)
	} else if err != nil {
		r.Error = err.Error()
	}
	return r
}

func run(c testCase) []result {
	out := []result{}
	parser, err := typed.NewParser(typed.YAMLObject(c.Schema))
	if err != nil {
		return append(out, result{Error: "schema: " + err.Error()})
	}
	s := &state{updater: merge.Updater{Converter: sameVersion{}}, kind: parser.Type(c.Type), owners: fieldpath.ManagedFields{}}
	s.live, err = s.kind.FromUnstructured(map[string]interface{}{})
	if err != nil {
		return append(out, result{Error: "type: " + err.Error()})
	}
	for _, o := range c.Ops {
		out = append(out, s.report(s.step(o)))
	}
	return out
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var c testCase
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := out.Encode(run(c)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
