package tfplan

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// settings gathers what decides what an apply does and is no change: the configuration as Terraform read it (providers, provisioners,
// expressions whose values are known after apply), and the values of variables.
type settings struct {
	key       []byte
	config    hash.Hash // nil: nobody could compare it
	variables hash.Hash
}

func newSettings(key []byte) settings {
	if len(key) == 0 {
		return settings{}
	}
	return settings{key: key, config: hmac.New(sha256.New, key), variables: hmac.New(sha256.New, key)}
}

// put adds parts, each told from the next by its length.
func put(h hash.Hash, parts ...[]byte) {
	for _, p := range parts {
		h.Write(appendN(nil, len(p)))
		h.Write(p)
	}
}

// sum is the whole as Plan.Config; "" where there was no key.
func (s settings) sum(engine, version string) string {
	if s.config == nil {
		return ""
	}
	h := hmac.New(sha256.New, s.key)
	put(h, []byte("plumbline config 1"), []byte(engine), []byte(version), s.config.Sum(nil), s.variables.Sum(nil))
	return hex.EncodeToString(h.Sum(nil))
}

// configuration reads the section of that name. No more than one resource's block is held at a time.
func (r *reader) configuration() error {
	return r.object(func(name []byte) error {
		if string(name) == "root_module" {
			return r.configModule(true)
		}
		return r.setting(name)
	})
}

// setting takes in one member as it is written: an engine writes the same configuration in the same way.
func (r *reader) setting(name []byte) error {
	if r.settings.config == nil {
		return r.skip()
	}
	put(r.settings.config, name)
	v, err := r.value()
	if err == nil {
		put(r.settings.config, v)
	}
	return err
}

func (r *reader) configModule(root bool) error {
	return r.object(func(name []byte) error {
		switch string(name) {
		case "variables":
			if root { // their values, defaults too, are in a section of their own
				return r.object(r.declared)
			}
		case "resources":
			return r.elements(func(int) error { return r.setting([]byte("resource")) })
		case "module_calls":
			return r.object(func(call []byte) error {
				if r.settings.config != nil {
					put(r.settings.config, []byte("module"), call)
				}
				return r.object(func(name []byte) error {
					if string(name) == "module" {
						return r.configModule(false)
					}
					return r.setting(name)
				})
			})
		}
		return r.setting(name)
	})
}
