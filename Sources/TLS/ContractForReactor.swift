// The part of the TLS engine that the reactor is compiled against until the engine itself is here.

public struct TLSError: Error {}

public struct TLSSettings: Sendable {}

public final class TLSSource: Sendable {
    public var current: TLSSettings { TLSSettings() }
}

public final class TLSEngine {
    public init(_ settings: TLSSettings) throws(TLSError) { throw TLSError() }
    public func start(output: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {}
    public func receive(
        _ ciphertext: UnsafeRawBufferPointer, plaintext: (UnsafeRawBufferPointer) -> Void,
        output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {}
    public func send(
        _ plaintext: UnsafeRawBufferPointer, output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {}
    public func close(output: (UnsafeRawBufferPointer) -> Void) {}
    public var isEstablished: Bool { false }
    public var alpn: String? { nil }
    public var peerCertificates: [[UInt8]] { [] }
    public var serverName: String? { nil }
    public var peerClosed: Bool { false }
}
