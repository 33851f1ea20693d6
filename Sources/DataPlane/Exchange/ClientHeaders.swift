import Addresses
import Forwarding
import HTTP

/// What this proxy writes into a request about who sent it and how, and what it believes of what is there already.
/// Source: Envoy, "HTTP header manipulation", `ConnectionManagerUtility::mutateRequestHeaders`.
struct ClientHeaders {
    /// Nothing stands before this proxy that could have told who the client is.
    var usesRemoteAddress = false
    var client: ClientSettings
    /// Proxies before this one that are trusted to have told.
    var trustedHops = 0
    var appendsForwardedFor = true
    var appendsForwardedPort = false
    var makesRequestID = true
    var keepsRequestID = false
    var packsTraceReason = true
    var via: [UInt8] = []
    /// The scheme that requests are given; empty: their own.
    var givenScheme: [UInt8] = []

    init(_ settings: HTTPConnectionSettings) {
        client = settings.client
        usesRemoteAddress = settings.client.usesRemoteAddress
        trustedHops = settings.client.trustedHops
        appendsForwardedFor = !settings.client.skipsAppend
        appendsForwardedPort = settings.client.appendsPort
        makesRequestID = settings.requestID.generates
        keepsRequestID = settings.requestID.keepsExternal
        packsTraceReason = settings.requestID.packsTraceReason
        via = Array(settings.via.utf8)
        givenScheme = Array((settings.scheme ?? "").utf8)
    }

    /// Changes the head.
    /// - Returns: who called, as far as it is believed.
    func apply(
        to head: inout HeaderList, _ connection: ConnectionFacts, internalOnly: [[UInt8]],
        random: inout some RandomNumberGenerator
    ) -> NetworkAddress {
        head.remove("x-envoy-internal")
        var remote = connection.source
        /// Whether one address alone is told of, which a client inside has.
        var isAlone = false
        if usesRemoteAddress {
            isAlone = !head.contains("x-forwarded-for")
            if trustedHops > 0, let told = forwardedFor(head, fromLast: trustedHops)?.address { remote = told }
            if appendsForwardedFor, let ip = connection.source.ip { append(ip, to: &head) }
        } else if let told = forwardedFor(head, fromLast: trustedHops + 1) {
            remote = told.address
            isAlone = told.isOnly && trustedHops == 0
        }
        let isInternal = isAlone && client.isInternal(remote)
        let isEdge = usesRemoteAddress && !isInternal
        if isInternal {
            head.set("x-envoy-internal", "true")
        } else {
            RequestOverrides.remove(from: &head, isEdge: isEdge, internalOnly: internalOnly)
        }
        if usesRemoteAddress, trustedHops == 0 {
            head.set("x-forwarded-proto", value: scheme(connection).bytes)
        } else if !head.contains("x-forwarded-proto") {
            head.append("x-forwarded-proto", value: scheme(connection).bytes)
        }
        if appendsForwardedPort, let port = connection.destination.port,
            usesRemoteAddress || !head.contains("x-forwarded-port")
        {
            head.set("x-forwarded-port", "\(port)")
        }
        if !givenScheme.isEmpty {
            givenScheme.withUnsafeBytes {
                head.set(":scheme", value: $0)
                head.set("x-forwarded-proto", value: $0)
            }
        }
        if isEdge, let ip = remote.ip { head.set("x-envoy-external-address", "\(ip)") }
        if makesRequestID, !head.contains("x-request-id") || (isEdge && !keepsRequestID) {
            withRandomUUID(&random) { head.set("x-request-id", value: $0) }
        } else if makesRequestID, isEdge, packsTraceReason {
            // Who is outside does not decide what is traced.
            TraceReason.notTraced.pack(into: &head)
        }
        if !via.isEmpty { via.withUnsafeBytes { Self.appendToList("via", $0, &head) } }
        return remote
    }

    private func scheme(_ connection: ConnectionFacts) -> StaticString { connection.isTLS ? "https" : "http" }

    private func append(_ ip: IPAddress, to head: inout HeaderList) {
        Array("\(ip)".utf8).withUnsafeBytes { Self.appendToList("x-forwarded-for", $0, &head) }
    }

    /// Adds to the last field of that name after a comma, as Envoy does.
    private static func appendToList(_ name: StaticString, _ value: UnsafeRawBufferPointer, _ head: inout HeaderList) {
        guard var joined = head.joinedValue(ofBytes: name.bytes), !joined.isEmpty else {
            return head.set(name, value: value)
        }
        joined.append(UInt8(ascii: ","))
        joined.append(contentsOf: value)
        joined.withUnsafeBytes { head.set(name, value: $0) }
    }

    /// The address at a place from the end of `x-forwarded-for`, 1 is the last, and whether it is the only one there;
    /// nil where there is none.
    private func forwardedFor(_ head: HeaderList, fromLast place: Int) -> (address: NetworkAddress, isOnly: Bool)? {
        guard let list = head.joinedValue(ofBytes: ("x-forwarded-for" as StaticString).bytes) else { return nil }
        let entries = list.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        guard entries.count >= place else { return nil }
        let text = String(decoding: entries[entries.count - place], as: UTF8.self)
            .drop { $0 == " " || $0 == "\t" }
        let trimmed = text.prefix { $0 != " " && $0 != "\t" }
        return IPAddress(String(trimmed)).map { (.ip($0, port: 0), entries.count == 1) }
    }
}

/// Calls `body` with a random UUID in text. Source: RFC 9562, version 4.
func withRandomUUID(_ random: inout some RandomNumberGenerator, _ body: (UnsafeRawBufferPointer) -> Void) {
    let (high, low) = (random.next(), random.next())
    let digits: StaticString = "0123456789abcdef"
    withUnsafeTemporaryAllocation(byteCount: 36, alignment: 1) { text in
        var position = 0
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 {
                text[position] = UInt8(ascii: "-")
                position += 1
            }
            let word = index < 16 ? high : low
            var digit = Int(word >> UInt64(60 - 4 * (index & 15)) & 15)
            if index == 12 { digit = 4 }
            if index == 16 { digit = digit & 3 | 8 }
            text[position] = digits.utf8Start[digit]
            position += 1
        }
        body(UnsafeRawBufferPointer(text))
    }
}

/// What is told upstream of the client's certificate. Source: Envoy, `forward_client_cert_details`.
struct ClientCertificateHeader {
    private let settings: ForwardedCertificate

    init(_ settings: ForwardedCertificate) { self.settings = settings }

    /// - Parameter ownURI: the first URI of the certificate that this side showed.
    func apply(to head: inout HeaderList, _ connection: ConnectionFacts, ownURI: String?) {
        // Only a client that has shown who it is may speak of others.
        let isMutual = connection.isTLS && connection.peer != nil
        switch settings.action {
        case .alwaysForward: return
        case .remove:
            head.remove("x-forwarded-client-cert")
            return
        case .forward:
            if !isMutual { head.remove("x-forwarded-client-cert") }
            return
        case .append, .replace:
            guard isMutual, let peer = connection.peer else {
                head.remove("x-forwarded-client-cert")
                return
            }
            let own = text(peer, ownURI: ownURI)
            // A name in a certificate may hold any byte.
            var value = own.utf8.filter { $0 >= 0x20 && $0 != 0x7F }
            if settings.action == .append,
                let before = head.joinedValue(ofBytes: ("x-forwarded-client-cert" as StaticString).bytes),
                !before.isEmpty
            {
                value = own.isEmpty ? before : before + [UInt8(ascii: ",")] + value
            }
            if value.isEmpty {
                head.remove("x-forwarded-client-cert")
            } else {
                value.withUnsafeBytes { head.set("x-forwarded-client-cert", value: $0) }
            }
        }
    }

    private func text(_ peer: PeerCertificateFacts, ownURI: String?) -> String {
        var parts: [String] = []
        if let ownURI, !ownURI.isEmpty { parts.append("By=\(ownURI)") }
        if !peer.fingerprint.isEmpty { parts.append("Hash=\(peer.fingerprint)") }
        if settings.certificate, !peer.pem.isEmpty { parts.append("Cert=\"\(peer.encodedPEM)\"") }
        if settings.subject { parts.append("Subject=\"\(peer.subject)\"") }
        if settings.uri { parts.append("URI=\(peer.uriNames.first ?? "")") }
        if settings.dns { parts += peer.dnsNames.map { "DNS=\($0)" } }
        return parts.joined(separator: ";")
    }
}
