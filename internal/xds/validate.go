package xds

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// validate applies the rules that Envoy's messages carry to a message and to everything packed inside of it, which they would not look into.
func validate(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	return eachPacked(m.ProtoReflect(), func(a *anypb.Any) error {
		inner, err := a.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("%q: %w", a.GetTypeUrl(), err)
		}
		if err := validate(inner); err != nil {
			return fmt.Errorf("in %q: %w", a.GetTypeUrl(), err)
		}
		return nil
	})
}

// eachPacked calls fn with every packed message that m holds at any depth, but not with those inside of a packed one.
func eachPacked(m protoreflect.Message, fn func(*anypb.Any) error) error {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return fn(a)
	}
	var err error
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		err = eachMessage(field, value, func(inner protoreflect.Message) error { return eachPacked(inner, fn) })
		return err == nil
	})
	return err
}

func eachMessage(field protoreflect.FieldDescriptor, value protoreflect.Value, fn func(protoreflect.Message) error) error {
	switch {
	case field.IsMap():
		if field.MapValue().Message() == nil {
			return nil
		}
		var err error
		value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			err = fn(v.Message())
			return err == nil
		})
		return err
	case field.Message() == nil:
		return nil
	case field.IsList():
		for i := range value.List().Len() {
			if err := fn(value.List().Get(i).Message()); err != nil {
				return err
			}
		}
		return nil
	default:
		return fn(value.Message())
	}
}
