package testenv

import (
	"bytes"
	"fmt"
	"io"
)

// BigPlan is the plan JSON of a stack with that many resources, made while it is read. A resource takes about 10 kB in all sections together,
// like an instance with its disks; four of five change, which is the worst that a real plan comes to. password is sensitive.
func BigPlan(resources int) io.Reader { return &bigPlan{resources: resources} }

type bigPlan struct {
	resources int
	part      int // 0: head; then one for each resource and section
	buf       bytes.Buffer
}

func (g *bigPlan) Read(p []byte) (int, error) {
	for g.buf.Len() == 0 {
		if !g.next() {
			return 0, io.EOF
		}
	}
	return g.buf.Read(p)
}

// values writes the attributes of resource i; variant 1 differs from 0 in a few places.
func (g *bigPlan) values(i, variant int) {
	fmt.Fprintf(&g.buf, `{"ami":"ami-%08d","arn":"arn:aws:ec2:eu-west-1:111122223333:instance/i-%017d","ebs_block_device":[`, i+variant, i)
	for d := range 6 {
		fmt.Fprintf(&g.buf, `{"delete_on_termination":true,"device_name":"/dev/sd%d","encrypted":false,"iops":%d,"kms_key_id":"","snapshot_id":null,"tags":{},"throughput":0,"volume_id":"vol-%017d","volume_size":%d,"volume_type":"gp3"},`, d, 3000+variant*d, i*8+d, 8*d)
	}
	fmt.Fprintf(&g.buf, `{}],"id":"i-%017d","instance_type":"t3.%d","password":"secret-%d-%d","policy":%q,"tags":{"Name":"web-%d","kubernetes.io/role":"node","team":"a"},"timeouts":null,"user_data":%q,"vpc_security_group_ids":["sg-1","sg-2","sg-%d"]}`,
		i, variant, i, variant,
		fmt.Sprintf(`{"Statement":[{"Action":["s3:Get%d","s3:List"],"Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}`, variant),
		i, fmt.Sprintf("#!/bin/sh\nexport A=\"%d\"\nexport B=%d\n%0600d\n", i, variant, i), i+variant)
}

func (g *bigPlan) next() bool {
	n, i := g.resources, g.part-1
	g.part++
	comma := func() {
		if i > 0 {
			g.buf.WriteByte(',')
		}
	}
	switch {
	case i == -1:
		g.buf.WriteString(`{"format_version":"1.2","terraform_version":"1.11.4","planned_values":{"root_module":{"resources":[`)
	case i < n:
		comma()
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","values":`, i)
		g.values(i, 1)
		g.buf.WriteString(`,"sensitive_values":{"password":true}}`)
		if i == n-1 {
			g.buf.WriteString(`]}},"resource_changes":[`)
		}
	case i < 2*n:
		i -= n
		comma()
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","index":%d,"provider_name":"registry.terraform.io/hashicorp/aws","change":{"actions":`, i, i)
		actions := [...]string{`["no-op"]`, `["update"]`, `["create"]`, `["delete","create"]`, `["update"]`}[i%5]
		g.buf.WriteString(actions + `,"before":`)
		if i%5 == 2 {
			g.buf.WriteString("null")
		} else {
			g.values(i, 0)
		}
		g.buf.WriteString(`,"after":`)
		g.values(i, min(i%5, 1))
		g.buf.WriteString(`,"after_unknown":{"ebs_block_device":[{},{},{},{},{},{},{"volume_id":true}],"tags":{},"vpc_security_group_ids":[false,false,false]},"before_sensitive":{"password":true,"tags":{}},"after_sensitive":{"ebs_block_device":[{},{},{},{},{},{},{}],"password":true}`)
		if i%5 == 3 {
			g.buf.WriteString(`,"replace_paths":[["ami"]]`)
		}
		g.buf.WriteString(`}}`)
		if i == n-1 {
			g.buf.WriteString(`],"prior_state":{"format_version":"1.0","values":{"root_module":{"resources":[`)
		}
	case i < 3*n:
		i -= 2 * n
		comma()
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","values":`, i)
		g.values(i, 0)
		g.buf.WriteString(`,"sensitive_values":{"password":true}}`)
		if i == n-1 {
			g.buf.WriteString(`]}}},"applyable":true,"complete":true,"errored":false}`)
		}
	default:
		return false
	}
	return true
}
