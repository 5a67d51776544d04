// SPDX-License-Identifier: Apache-2.0

// What evanphx/json-patch makes of a patch, for the comparison with lib/api/patch_*.c. A
// case per line of stdin: {"type": "json"|"merge", "target": {...}, "patch": ...}; a line
// of stdout for each: {"result": ...} or {"error": "..."}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	jsonpatch "github.com/evanphx/json-patch"
)

type testCase struct {
	Type          string
	Target, Patch json.RawMessage
}

func run(c testCase) (result json.RawMessage, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	if c.Type == "merge" {
		return jsonpatch.MergePatch(c.Target, c.Patch)
	}
	patch, err := jsonpatch.DecodePatch(c.Patch)
	if err != nil {
		return nil, err
	}
	return patch.Apply(c.Target)
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
		result, err := run(c)
		answer := map[string]interface{}{"result": result}
		if err != nil {
			answer = map[string]interface{}{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
