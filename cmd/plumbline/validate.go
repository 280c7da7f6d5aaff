package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newValidateCmd(o *options) *cobra.Command {
	path := ""
	cmd := &cobra.Command{
		Use:   "validate [--config FILE]",
		Short: "Check the configuration without touching anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Context(), path)
			if err != nil {
				return err
			}
			if o.JSON {
				return printJSON(o.Out, cfg)
			}
			envs := 0
			for _, r := range cfg.Repositories {
				envs += len(r.Environments)
			}
			_, err = fmt.Fprintf(o.Out, "%s: %d repositories, %d environments, no mistakes.\n", path, len(cfg.Repositories), envs)
			return err
		},
	}
	cmd.Flags().StringVar(&path, "config", "plumbline.hcl", "a file, or a directory of *.hcl files")
	return cmd
}
