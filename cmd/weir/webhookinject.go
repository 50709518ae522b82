package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
)

func webhookInjectCommand() *cobra.Command {
	var flags configFlags
	var file, image string
	cmd := &cobra.Command{
		Use:   "inject -f FILE",
		Short: "Print objects as the webhook would make their pods",
		Long: `Reads objects (Pods, Deployments, Jobs and whatever else has pods) and prints them
with the sidecars that their annotations ask for. It asks nobody. Warnings are those
that the webhook gives.`,
		Example: `  weir webhook inject -f deployment.yaml --image weir:v1 | kubectl diff -f -
  kubectl get deploy web -o yaml | weir webhook inject -f - --image weir:v1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError("inject what? weir webhook inject -f pod.yaml")
			}
			opts := flags.options("webhook")
			opts.Incomplete = true
			if image != "" {
				opts.Set = append(opts.Set, "webhook.image="+image)
			}
			cfg, _, err := config.Load(opts)
			if err != nil {
				return err
			}
			if cfg.Webhook.Image == "" {
				return usageError("the image of the sidecars is not known: --image weir:v1")
			}
			o, err := webhookOptions(&cfg.Webhook)
			if err != nil {
				return err
			}
			var text []byte
			if file == "-" {
				text, err = io.ReadAll(cmd.InOrStdin())
			} else {
				text, err = os.ReadFile(file)
			}
			if err != nil {
				return err
			}
			return injectObjects(text, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&file, "filename", "f", "", "file with objects, YAML or JSON; - for standard input")
	cmd.Flags().StringVar(&image, "image", "", "image of the sidecars")
	if err := cmd.MarkFlagFilename("filename", "yaml", "yml", "json"); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

// injectObjects prints the documents of text as the webhook would make them.
func injectObjects(text []byte, o kube.InjectOptions, out, errOut io.Writer) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for n := 0; ; {
		var object map[string]any
		if err := dec.Decode(&object); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("document %d: %w", n+1, err)
		}
		if object == nil {
			continue
		}
		_, warnings, err := kube.InjectObject(object, o)
		for _, w := range warnings {
			fmt.Fprintln(errOut, "warning:", printableText(w))
		}
		if err != nil {
			return fmt.Errorf("document %d: %w", n+1, err)
		}
		var b bytes.Buffer
		if n++; n > 1 {
			b.WriteString("---\n")
		}
		enc := yaml.NewEncoder(&b)
		enc.SetIndent(2)
		if err := errors.Join(enc.Encode(object), enc.Close()); err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
		if _, err := out.Write(b.Bytes()); err != nil {
			return err
		}
	}
}

// unmarshalYAML reads a document.
func unmarshalYAML(text []byte, into any) error { return yaml.Unmarshal(text, into) }
