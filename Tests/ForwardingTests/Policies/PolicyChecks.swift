import Addresses
import EnvoyAPI
import Foundation
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

/// Numbers that are the same in every run.
struct SeededDice: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func pick<T>(_ list: [T]) -> T { list[Int.random(in: 0..<list.count, using: &self)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// A compiled filter of a type, from the JSON of its message.
/// - Parameter type: below `envoy.extensions.filters.http.`.
func filter(_ type: String, _ fields: String) throws -> HTTPFilter {
    let chain = try HTTPFilterChain([setting("test", type, fields)])
    return try #require(chain.entries.first).filter
}

/// A filter as a connection manager lists it.
func setting(
    _ name: String, _ type: String, _ fields: String, isOptional: Bool = false, isDisabled: Bool = false
) throws -> ExtensionSetting {
    let arena = Arena()
    let any = try arena.decodeJSON(ProtobufAny.self, packed(type, fields), types: envoyTypes)
    return ExtensionSetting(name, any.pointee, isOptional: isOptional, isDisabled: isDisabled)
}

/// What a route says to a filter.
func routeSetting(_ type: String, _ fields: String) throws -> FilterSetting {
    let arena = Arena()
    let any = try arena.decodeJSON(ProtobufAny.self, packed(type, fields), types: envoyTypes)
    return try FilterSetting(any.pointee, in: arena)
}

/// The JSON of an `Any`.
func packed(_ type: String, _ fields: String) -> String {
    let name = type.hasPrefix("envoy.") ? type : "envoy.extensions.filters.http.\(type)"
    let inner = fields.trimmingCharacters(in: .whitespacesAndNewlines).dropFirst().dropLast()
    let rest = inner.allSatisfy(\.isWhitespace) ? "" : ", \(inner)"
    return "{\"@type\": \"type.googleapis.com/\(name)\"\(rest)}"
}

/// The NACK that a filter's message gets.
func refusal(_ type: String, _ fields: String) -> String {
    do {
        _ = try filter(type, fields)
        return "taken"
    } catch let error as ConfigurationError {
        return "\(error)"
    } catch {
        return "no message: \(error)"
    }
}

func request(
    _ method: String = "GET", _ path: String = "/", host: String = "web", _ headers: [(String, String)] = [],
    connection: ConnectionFacts = plain, remote: NetworkAddress? = nil, metadata: FilterMetadata = FilterMetadata()
) -> RequestFacts {
    let head = HeaderList(
        [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)] + headers)
    return RequestFacts(connection: connection, head: head, remote: remote, metadata: metadata)
}

func address(_ text: String, _ port: UInt16 = 0) -> NetworkAddress {
    guard let ip = IPAddress(text) else { preconditionFailure("\(text) is no address") }
    return .ip(ip, port: port)
}

let plain = ConnectionFacts(source: address("10.1.2.3", 40_000), destination: address("10.0.0.9", 8080))

func secure(_ peer: PeerCertificateFacts?, serverName: String? = nil) -> ConnectionFacts {
    ConnectionFacts(
        source: address("10.1.2.3", 40_000), destination: address("10.0.0.9", 8080), serverName: serverName,
        isTLS: true, peer: peer)
}

extension HeaderList {
    /// The value of a field, as text.
    func text(_ name: String) -> String? {
        Array(name.utf8).withUnsafeBytes { withValue(ofBytes: $0) { String(decoding: $0, as: UTF8.self) } }
    }
}

let second: Int64 = 1_000_000_000
func instant(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }
