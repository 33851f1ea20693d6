// Module GRPC.
