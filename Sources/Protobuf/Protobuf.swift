// Module Protobuf.
