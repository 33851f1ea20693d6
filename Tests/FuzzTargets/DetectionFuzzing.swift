import Addresses
import DataPlane
import Forwarding
import TLS

/// What a connection is must not depend on how its bytes were cut: as soon as a part tells, more of it tell the same.
func fuzzDetection(_ bytes: UnsafeRawBufferPointer) {
    expectSameVerdict(bytes, ClientHelloInspection.inspect, isOpen: { $0 == .incomplete })
    expectSameVerdict(bytes, HTTPInspection.inspect, isOpen: { $0 == .incomplete })
    if case .greeting(let name?, _) = ClientHelloInspection.inspect(bytes) {
        precondition(name == name.lowercased(), "a server name with capitals: \(name)")
        precondition(!name.isEmpty && !name.utf8.contains { $0 <= 0x20 || $0 >= 0x7F }, "no server name: \(name)")
    }
}

func fuzzProxyHeader(_ bytes: UnsafeRawBufferPointer) {
    expectSameVerdict(bytes, ProxyProtocolHeader.read, isOpen: { $0 == .incomplete })
    guard case .header(let length, let addresses, let version) = ProxyProtocolHeader.read(bytes) else { return }
    precondition(length > 0 && length <= bytes.count, "a header that ends after what came")
    guard let addresses else { return }
    // What was read, written again, reads as the same.
    let written = version == 1 ? text(addresses) : binary(addresses)
    let again = written.withUnsafeBytes { ProxyProtocolHeader.read($0) }
    precondition(
        again == .header(length: written.count, addresses: addresses, version: version),
        "\(addresses) is read as \(again)")
}

/// Of a few parts from the beginning, and of the whole.
private func expectSameVerdict<Verdict: Equatable>(
    _ bytes: UnsafeRawBufferPointer, _ inspect: (UnsafeRawBufferPointer) -> Verdict, isOpen: (Verdict) -> Bool
) {
    let whole = inspect(bytes)
    // Short ones byte for byte; the first byte of longer ones says where they are cut.
    let step = bytes.count <= 256 ? 1 : 1 + Int(bytes[0]) * bytes.count / 4096
    for count in stride(from: 0, to: bytes.count, by: step) {
        let verdict = inspect(UnsafeRawBufferPointer(rebasing: bytes.prefix(count)))
        precondition(isOpen(verdict) || verdict == whole, "\(verdict) after \(count) bytes, \(whole) after all")
    }
}

private func parts(_ addresses: ProxyProtocolHeader.Addresses) -> (IPAddress, UInt16, IPAddress, UInt16) {
    guard case .ip(let source, let sourcePort) = addresses.source,
        case .ip(let destination, let destinationPort) = addresses.destination
    else { preconditionFailure("addresses of another kind: \(addresses)") }
    return (source, sourcePort, destination, destinationPort)
}

private func text(_ addresses: ProxyProtocolHeader.Addresses) -> [UInt8] {
    let (source, sourcePort, destination, destinationPort) = parts(addresses)
    let family = source.isIPv4 ? "TCP4" : "TCP6"
    return Array("PROXY \(family) \(source) \(destination) \(sourcePort) \(destinationPort)\r\n".utf8)
}

private func binary(_ addresses: ProxyProtocolHeader.Addresses) -> [UInt8] {
    let (source, sourcePort, destination, destinationPort) = parts(addresses)
    let ports = [sourcePort, destinationPort].flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
    let body = source.bytes + destination.bytes + ports
    let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
    return signature + [0x21, source.isIPv4 ? 0x11 : 0x21, 0, UInt8(body.count)] + body
}
