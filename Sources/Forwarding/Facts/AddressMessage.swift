import Addresses
import EnvoyAPI
import Protobuf

extension NetworkAddress {
    /// As other servers are told of it.
    func message(in arena: Arena) -> UnsafeMutablePointer<EnvoyAPI.Address> {
        arena.make(EnvoyAPI.Address.self) {
            switch self {
            case .ip(let ip, let port):
                $0.set(
                    socket_address: arena.make {
                        $0.address = arena("\(ip)")
                        $0.set(port_value: UInt32(port))
                    })
            case .pipe(let path): $0.set(pipe: arena.make { $0.path = arena(path.printable) })
            }
        }
    }
}

extension String {
    /// Texts of messages hold no NUL.
    var printable: String { utf8.contains(0) ? replacing("\0", with: "") : self }
}
