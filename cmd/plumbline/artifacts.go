package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/internal/artifact"
	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/config"
)

// blobs keeps sealed artifacts: in a directory, or in S3.
type blobs interface {
	Put(ctx context.Context, name string, r io.Reader) (size int64, sha256 string, err error)
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	Close() error
}

// wrappedKey is the file with the key of the artifacts, wrapped by KMS, beside them.
const wrappedKey = "key.kms"

// openArtifacts opens where artifacts are kept, with the key that seals them and from which others are derived.
func openArtifacts(ctx context.Context, s config.Server) (blobs, artifact.Key, error) {
	if s.EncryptionKey == "" && s.Artifacts == nil {
		key, err := artifact.LoadKey(s.EncryptionKeyFile)
		if err != nil {
			return nil, key, err
		}
		d, err := openDirectory(s, key)
		return d, key, err
	}
	account, err := aws.Load(ctx, aws.Config{})
	if err != nil {
		return nil, artifact.Key{}, err
	}
	var file artifact.File = artifact.LocalFile(filepath.Join(s.DataDir, wrappedKey))
	place := map[string]string{"plumbline": "artifacts"}
	conf := artifact.S3Config{Temp: s.DataDir}
	if b := s.Artifacts; b != nil {
		if conf.AWS, err = account.SDK(b.Region); err != nil {
			return nil, artifact.Key{}, fmt.Errorf("server.artifacts: %w", err)
		}
		conf.Bucket, conf.Prefix = b.Name, b.Prefix
		file = artifact.S3File{AWS: conf.AWS, Bucket: b.Name, Key: filepath.ToSlash(filepath.Join(b.Prefix, wrappedKey))}
		place["store"] = b.String()
	}
	if conf.Key, err = masterKey(ctx, s, account, file, place); err != nil {
		return nil, artifact.Key{}, fmt.Errorf("server.encryption: %w", err)
	}
	if s.Artifacts == nil {
		d, err := openDirectory(s, conf.Key)
		return d, conf.Key, err
	}
	d, err := artifact.OpenS3(ctx, conf)
	if err != nil {
		return nil, artifact.Key{}, fmt.Errorf("server.artifacts: %w", err)
	}
	return d, conf.Key, nil
}

func masterKey(ctx context.Context, s config.Server, account *aws.Account, file artifact.File, place map[string]string) (artifact.Key, error) {
	if s.EncryptionKey == "" {
		return artifact.LoadKey(s.EncryptionKeyFile)
	}
	keys, err := account.DataKeys(s.EncryptionKey)
	if err != nil {
		return artifact.Key{}, err
	}
	// A new key would make everything unreadable that was sealed under the old one, the audit log's seal with it.
	old := filepath.Join(s.DataDir, "key")
	if _, err := file.Load(ctx); errors.Is(err, artifact.ErrNotFound) {
		if _, err := os.Stat(old); err == nil {
			return artifact.Key{}, fmt.Errorf("this data_dir was sealed under the key file %s, and what is sealed cannot change its key: go on with encryption = \"file://%s\", or begin with a new data_dir and database", old, old)
		}
	}
	return artifact.LoadWrapped(ctx, keys, file, place)
}

func openDirectory(s config.Server, key artifact.Key) (blobs, error) {
	d, err := artifact.OpenDir(artifact.DirConfig{Path: filepath.Join(s.DataDir, "artifacts"), Key: key})
	if err != nil {
		return nil, err // a nil *Dir would be an interface that is not nil
	}
	return d, nil
}
