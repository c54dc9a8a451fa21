package codec

import (
	"context"
	"errors"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
)

// Configure has a client of Temporal encrypt what it sends, if there are keys,
// and decrypt what it gets. Messages and stacks of failures are encrypted too.
func Configure(options *client.Options, keys Keys) {
	options.DataConverter = DataConverter(keys)
	if keys.Encrypt() {
		options.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: options.DataConverter, EncodeCommonAttributes: true,
		})
	}
}

// DataConverter is Temporal's own with a codec of keys. Without keys it costs
// nothing.
func DataConverter(keys Keys) converter.DataConverter {
	plain := converter.GetDefaultDataConverter()
	if !keys.Encrypt() {
		return patient{DataConverter: withoutKeys{plain}}
	}
	return patient{DataConverter: converter.NewCodecDataConverter(plain, New(keys))}
}

// withoutKeys reads what is not encrypted, and names the key that is missing
// where something is.
type withoutKeys struct{ converter.DataConverter }

// FromPayload decodes one payload.
func (w withoutKeys) FromPayload(payload *common.Payload, into any) error {
	if _, err := new(Codec).decode(payload); err != nil {
		return err
	}
	return w.DataConverter.FromPayload(payload, into)
}

// FromPayloads decodes payloads.
func (w withoutKeys) FromPayloads(payloads *common.Payloads, into ...any) error {
	for _, payload := range payloads.GetPayloads() {
		if _, err := new(Codec).decode(payload); err != nil {
			return err
		}
	}
	return w.DataConverter.FromPayloads(payloads, into...)
}

// patient never has a workflow fail because this process lacks a key: within a
// workflow that is a panic, which fails the workflow's task, and Temporal gives
// the task to a worker again until one has the key. An error would end the
// workflow, and the notification with it.
type patient struct {
	converter.DataConverter
	inWorkflow bool
}

var _ converter.ContextAware = patient{}

// WithWorkflowContext is the converter within a workflow.
func (p patient) WithWorkflowContext(converter.WorkflowContext) converter.DataConverter {
	return patient{DataConverter: p.DataConverter, inWorkflow: true}
}

// WithContext is the converter everywhere else.
func (p patient) WithContext(context.Context) converter.DataConverter { return p }

// FromPayload decodes one payload.
func (p patient) FromPayload(payload *common.Payload, into any) error {
	return p.checked(p.DataConverter.FromPayload(payload, into))
}

// FromPayloads decodes payloads.
func (p patient) FromPayloads(payloads *common.Payloads, into ...any) error {
	return p.checked(p.DataConverter.FromPayloads(payloads, into...))
}

func (p patient) checked(err error) error {
	if _, lacking := errors.AsType[*KeyError](err); lacking && p.inWorkflow {
		panic(err)
	}
	return err
}
