"""From ONNX to what the runtime executes."""
