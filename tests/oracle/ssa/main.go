// SPDX-License-Identifier: Apache-2.0

// What structured-merge-diff makes of a sequence of applies and updates, for the
// comparison with lib/api/managed*.c. A case per line of stdin:
//
//	{"schemas": {"v1": "<types in its own YAML>", ...}, "ops": [
//	  {"op": "apply"|"update", "version": "v1", "manager": "a", "force": false, "object": {...}},
//	  {"op": "schema", "schemas": {...}}]}      (from here on)
//
// A line of stdout for each: [{"live": {...}, "owners": {"a apply": {fieldsV1},
// "b update v1": {...}}, "conflicts": ["a apply .spec.x"], "error": "..."}]. A step that fails leaves everything
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

// The None strategy: the same content, typed by the other version's schema.
type versions map[fieldpath.APIVersion]typed.ParseableType

var errMissing = errors.New("no such version")

func (v versions) Convert(x *typed.TypedValue, to fieldpath.APIVersion) (*typed.TypedValue, error) {
	kind, ok := v[to]
	if !ok {
		return nil, errMissing
	}
	return kind.FromUnstructured(plain(x))
}
func (versions) IsMissingVersionError(err error) bool { return err == errMissing }

func parse(schemas map[string]string) (versions, error) {
	out := versions{}
	for name, text := range schemas {
		parser, err := typed.NewParser(typed.YAMLObject(text))
		if err != nil {
			return nil, err
		}
		out[fieldpath.APIVersion(name)] = parser.Type("root")
	}
	return out, nil
}

type op struct {
	Op, Manager string
	Version     fieldpath.APIVersion
	Force       bool
	Schemas     map[string]string
	Object      json.RawMessage
}
type testCase struct {
	Schemas map[string]string
	Ops     []op
}
type result struct {
	Live      interface{}                `json:"live"`
	Owners    map[string]json.RawMessage `json:"owners"`
	Conflicts []string                   `json:"conflicts"`
	Error     string                     `json:"error"`
}

type state struct {
	kinds  versions
	exists bool
	live   interface{}
	owners fieldpath.ManagedFields
}

func (s *state) step(o op) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if o.Schemas != nil {
		s.kinds, err = parse(o.Schemas)
		return err
	}
	updater := merge.Updater{Converter: s.kinds}
	kind := s.kinds[o.Version]
	v, err := value.FromJSON(o.Object)
	if err != nil {
		return err
	}
	object, err := kind.FromUnstructured(v.Unstructured())
	if err != nil {
		return err
	}
	live, err := kind.FromUnstructured(s.live)
	if err != nil {
		return err
	}
	owners, manager := s.owners.Copy(), o.Manager+" "+o.Op
	if o.Op == "update" {
		manager += " " + string(o.Version)
	}
	if o.Op == "update" {
		if !s.exists || len(owners) > 0 {
			live, owners, err = updater.Update(live, object, o.Version, owners, manager)
		} else {
			live = object
		}
	} else {
		if s.exists && len(owners) == 0 {
			empty, _ := kind.FromUnstructured(map[string]interface{}{})
			_, owners, err = updater.Update(empty, live, o.Version, owners, "before-first-apply update "+string(o.Version))
			if err != nil {
				return err
			}
		}
		var next *typed.TypedValue
		next, owners, err = updater.Apply(live, object, o.Version, owners, manager, o.Force)
		if next != nil {
			live, _ = kind.FromUnstructured(emptied(plain(next), plain(live), plain(object)))
		}
	}
	if err == nil {
		s.live, s.owners, s.exists = plain(live), owners, true
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

func (s *state) report(err error) result {
	r := result{Live: s.live, Owners: map[string]json.RawMessage{}, Conflicts: []string{}}
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
	kinds, err := parse(c.Schemas)
	if err != nil {
		return append(out, result{Error: "schema: " + err.Error()})
	}
	s := &state{kinds: kinds, owners: fieldpath.ManagedFields{}, live: map[string]interface{}{}}
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
