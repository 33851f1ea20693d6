/// What the clients send, as bytes: protobuf, gRPC and HTTP/2 written by hand, so that the load costs little and
/// shares no code with what it measures.
struct RequestBytes {
    enum Variant: String {
        case delta
        case stateOfTheWorld = "sotw"
    }

    /// The types that are subscribed to, in this order.
    enum Kind: Int, CaseIterable {
        case clusters, endpoints

        var typeURL: String {
            switch self {
            case .clusters: "type.googleapis.com/envoy.config.cluster.v3.Cluster"
            case .endpoints: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
        }
    }

    let variant: Variant
    let isSecure: Bool
    /// What is subscribed to by name.
    let names: [String]
    /// The request for the endpoints of all clusters.
    let endpointsSubscription: [UInt8]

    init(_ variant: Variant, isSecure: Bool, clusters: Int) {
        self.variant = variant
        self.isSecure = isSecure
        connectionStart = Self.makeConnectionStart(variant, isSecure: isSecure)
        names = (0..<clusters).map(MeshResources.name)
        endpointsSubscription = Self.frames(
            Self.message(variant, .endpoints, node: nil, names: names, versions: [], nonce: [], version: []))
    }

    /// What a new client says at once: preface, SETTINGS with the widest windows, HEADERS, and the request for all
    /// clusters with the node.
    func opening(node: String) -> [UInt8] {
        connectionStart
            + Self.frames(
                Self.message(variant, .clusters, node: node, names: [], versions: [], nonce: [], version: []))
    }

    /// What clients say that come back with the resources that they have.
    struct Return {
        fileprivate var heldClusters: [([UInt8], [UInt8])]
        fileprivate var clustersVersion: [UInt8]
        /// The request for endpoints, and a PING whose answer shows that the server has taken it all in.
        fileprivate var afterClusters: [UInt8]
    }

    /// - Parameter held: versions by name (delta), or the version of the whole type under an empty name.
    func preparedReturn(holding held: [[String: [UInt8]]]) -> Return {
        func versions(_ kind: Kind) -> [([UInt8], [UInt8])] {
            guard variant == .delta else { return [] }
            return held[kind.rawValue].sorted { $0.key < $1.key }.map { (Array($0.key.utf8), $0.value) }
        }
        func version(_ kind: Kind) -> [UInt8] { variant == .delta ? [] : held[kind.rawValue][""] ?? [] }
        let endpoints = Self.message(
            variant, .endpoints, node: nil, names: names, versions: versions(.endpoints), nonce: [],
            version: version(.endpoints))
        return Return(
            heldClusters: versions(.clusters), clustersVersion: version(.clusters),
            afterClusters: Self.frames(endpoints)
                + Self.frame(type: 6, flags: 0, stream: 0, Array("reopened".utf8)))
    }

    func reopening(node: String, _ prepared: Return) -> [UInt8] {
        connectionStart
            + Self.frames(
                Self.message(
                    variant, .clusters, node: node, names: [], versions: prepared.heldClusters, nonce: [],
                    version: prepared.clustersVersion)) + prepared.afterClusters
    }

    /// - Parameter version: of the response; state of the world only.
    func acknowledgement(_ kind: Kind, nonce: [UInt8], version: [UInt8]) -> [UInt8] {
        let isDelta = variant == .delta
        return Self.frames(
            Self.message(
                variant, kind, node: nil, names: isDelta || kind == .clusters ? [] : names, versions: [],
                nonce: nonce, version: isDelta ? [] : version))
    }

    static func pingAnswer(_ payload: [UInt8]) -> [UInt8] { frame(type: 6, flags: 1, stream: 0, payload) }

    private let connectionStart: [UInt8]

    /// Preface, SETTINGS, the widest window for the connection, the acknowledgement of the server's SETTINGS in
    /// advance, and the stream's HEADERS.
    private static func makeConnectionStart(_ variant: Variant, isSecure: Bool) -> [UInt8] {
        let widest: [UInt8] = [0x7f, 0xff, 0xff, 0xff]
        let method = variant == .delta ? "DeltaAggregatedResources" : "StreamAggregatedResources"
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/\(method)"
        // HPACK: indexed where the static table has the field, literals without indexing elsewhere (RFC 7541).
        var headers: [UInt8] = [0x83, isSecure ? 0x87 : 0x86]
        headers += [0x04] + text(path) + [0x01] + text("bench")
        headers += [0x0f, 0x10] + text("application/grpc") + [0x00] + text("te") + text("trailers")
        var bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        bytes += frame(type: 4, flags: 0, stream: 0, [0, 4] + widest)
        bytes += frame(type: 8, flags: 0, stream: 0, [0x7f, 0xff, 0, 0])
        bytes += frame(type: 4, flags: 1, stream: 0, [])
        bytes += frame(type: 1, flags: 4, stream: 1, headers)
        return bytes
    }

    private static func text(_ string: String) -> [UInt8] { [UInt8(string.utf8.count)] + Array(string.utf8) }

    private static func frame(type: UInt8, flags: UInt8, stream: UInt8, _ payload: some Collection<UInt8>) -> [UInt8] {
        let count = payload.count
        var bytes: [UInt8] = [UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255)]
        bytes += [type, flags, 0, 0, 0, stream]
        return bytes + payload
    }

    /// A message with gRPC's prefix, in DATA frames of at most 16 KiB.
    private static func frames(_ message: [UInt8]) -> [UInt8] {
        let count = message.count
        let whole = [0] + [24, 16, 8, 0].map { UInt8(count >> $0 & 255) } + message
        return stride(from: 0, to: whole.count, by: 16_384).flatMap { start in
            frame(type: 0, flags: 0, stream: 1, whole[start..<min(start + 16_384, whole.count)])
        }
    }

    /// Source: envoy.service.discovery.v3.DiscoveryRequest and DeltaDiscoveryRequest.
    private static func message(
        _ variant: Variant, _ kind: Kind, node: String?, names: [String], versions: [([UInt8], [UInt8])],
        nonce: [UInt8], version: [UInt8]
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        func put(_ field: UInt8, _ value: [UInt8]) {
            bytes.append(field << 3 | 2)
            bytes += varint(value.count) + value
        }
        let nodeBytes = node.map { [0x0a] + varint($0.utf8.count) + Array($0.utf8) }
        let typeURL = Array(kind.typeURL.utf8)
        switch variant {
        case .delta:
            if let nodeBytes { put(1, nodeBytes) }
            put(2, typeURL)
            for name in names { put(3, Array(name.utf8)) }
            for (name, version) in versions {
                put(5, [0x0a] + varint(name.count) + name + [0x12] + varint(version.count) + version)
            }
            if !nonce.isEmpty { put(6, nonce) }
        case .stateOfTheWorld:
            if !version.isEmpty { put(1, version) }
            if let nodeBytes { put(2, nodeBytes) }
            for name in names { put(3, Array(name.utf8)) }
            put(4, typeURL)
            if !nonce.isEmpty { put(5, nonce) }
        }
        return bytes
    }

    static func varint(_ value: Int) -> [UInt8] {
        var (bytes, rest): ([UInt8], Int) = ([], value)
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }
}
