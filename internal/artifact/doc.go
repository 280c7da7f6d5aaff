// Package artifact keeps sealed blobs in a directory or in S3.
//
// A blob is what a run leaves behind: a saved plan, its JSON, a log, a state that could not be uploaded. Each holds
// secrets in clear, so it is sealed before it touches the disk, and a reader gets only what was checked. What
// the seal does not hide is a blob's name, its size and when it was written. A blob can be deleted, or replaced by an
// older one of the same name, by whoever can write to the directory: callers that must know keep the SHA-256 that
// Put returns.
//
// # Format
//
// A blob named "runs/12/tfplan" is the file "runs/12/tfplan+sealed" below the directory:
//
//	offset  bytes        content
//	0       8            magic: "plumseal" in ASCII
//	8       1            version: 1
//	9       32           salt, random for each blob
//	41      65536+16     chunk 0: ciphertext, then its tag
//	…       65536+16     chunks 1, 2, …
//	…       (0…65536)+16 the last chunk; empty only if the blob is
//
// The parts of the seal:
//
//	key    HKDF-SHA256(secret: the master key of 32 bytes, salt: the salt, info: the info), 32 bytes
//	info   "plumbline artifact 1 ", then the name, in ASCII
//	chunk  AES-256-GCM(key, nonce, plaintext), no additional data, tag of 16 bytes
//	nonce  11 bytes: the number of the chunk, counted from 0, big-endian; 1 byte: 1 in the last chunk, else 0
//
// The master key is a file of 64 hexadecimal digits, with or without white space around them.
//
// This is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
// Nonce-Reuse Misuse-Resistance", 2015). Any change to a file is found when its chunk is read: the salt and the name
// decide the key, so a file that takes another's place does not open; the nonce holds each chunk to its place and the
// last one to the end, so chunks cannot be dropped, added or exchanged. A change of this format is a new version;
// the info changes with it, so that the header cannot be edited to have a blob read by the rules of another version.
package artifact
