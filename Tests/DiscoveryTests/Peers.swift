import EnvoyAPI
import Foundation
import Protobuf
import Testing
import XDS

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
            bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
        }
    }
    try #require(bound)
    return UInt16(bigEndian: address.sin_port)
}

/// Takes what decodes as a message of its type, under the name in the body.
let acceptByBody: ResourceValidator = { type, resource in
    guard let body = resource.body else { return .rejected(name: resource.name, reason: "no body") }
    let arena = Arena()
    do {
        guard let descriptor = envoyTypes.descriptor(typeURL: type.typeURL) else {
            return .rejected(name: resource.name, reason: "unknown type")
        }
        let message = try arena.decode(descriptor, from: body)
        let name = message.string("name") ?? message.string("cluster_name") ?? ""
        return .accepted(name: name)
    } catch {
        return .rejected(name: resource.name, reason: "\(error)")
    }
}
