package config

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// Print writes the configuration as YAML, each value with where it comes from: the file and line, "postconf", or "default".
// There is no secret in it: secrets are in files of their own.
func (c *Config) Print() ([]byte, error) {
	var n yaml.Node
	if err := n.Encode(c); err != nil {
		return nil, err
	}
	c.comment(&n, "")
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (c *Config) comment(n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if path != "" {
				key = path + "." + key
			}
			c.comment(n.Content[i+1], key)
		}
		return
	}
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	n.LineComment = c.source[path]
	if n.LineComment == "" {
		n.LineComment = "default"
	}
}
