import Forwarding
import HTTP
import HTTP1

// Requests for another protocol, or for a way through. Source: RFC 9110, sections 7.8 and 9.3.6; RFC 8441.
extension Exchange {
    /// Whether the client wants to speak another protocol on its connection or stream.
    var asksForTunnel: Bool { shape.upgrade != nil || shape.isConnect }
    /// As rules on upgrades have it.
    var upgradeName: String { shape.upgrade ?? "connect" }

    /// Nothing of it goes out before the answer has opened the tunnel: to an upstream that says no it would be another
    /// request.
    func holdForTunnel(_ bytes: UnsafeRawBufferPointer) {
        guard stage == .sending else { return }
        held.append(contentsOf: bytes)
        if held.count >= service.bufferLimit { pauseRequest() }
    }

    /// What the client has said into the tunnel already goes out.
    func openTunnel() {
        guard stage == .responding, let upstream else { return }
        let early = held
        held = []
        early.withUnsafeBytes { upstream.sendData($0, for: self) }
        if upstream.isWritable(for: self) { resumeRequest() } else { pauseRequest() }
        if requestEnded { upstream.sendEnd(nil, for: self) }
    }
}
