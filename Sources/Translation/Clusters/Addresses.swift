import EnvoyAPI
import Protobuf

extension Translator {
    /// An `Address` of an IP address or a name, and a port; `unix://PATH` is a socket in the file system.
    func address(_ host: String, _ port: Int) -> UnsafeMutablePointer<Address> {
        arena.make {
            if host.hasPrefix("unix://") {
                $0.set(pipe: arena.make { $0.path = arena(String(host.dropFirst("unix://".count))) })
            } else {
                $0.set(socket_address: socketAddress(host, port))
            }
        }
    }

    func socketAddress(_ host: String, _ port: Int) -> UnsafeMutablePointer<SocketAddress> {
        arena.make {
            $0.address = arena(host)
            $0.set(port_value: UInt32(port))
        }
    }

    /// A `TypedExtensionConfig`.
    func typed<M: ProtobufMessage>(
        _ name: String, _ message: UnsafeMutablePointer<M>
    ) -> UnsafeMutablePointer<TypedExtensionConfig> {
        arena.make {
            $0.name = arena(name)
            $0.typed_config = arena.any(message)
        }
    }

    func transportSocket<M: ProtobufMessage>(
        _ name: String, _ message: UnsafeMutablePointer<M>
    ) -> UnsafeMutablePointer<TransportSocket> {
        arena.make {
            $0.name = arena(name)
            $0.set(typed_config: arena.any(message))
        }
    }
}
