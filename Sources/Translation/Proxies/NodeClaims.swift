import Addresses
import Identity
import Mesh
import XDS

/// Why a proxy gets no configuration: what it says of itself cannot be.
public enum NodeClaimError: Error, Hashable, Sendable {
    /// A field that must be there, or is no text, number or mapping where one is due.
    case invalid(field: String, problem: String)
    /// More than a proxy may say.
    case tooMuch(field: String, limit: Int)
    /// It proved to be another than it says.
    case contradictsIdentity(field: String, claimed: String, proved: String)
}

extension NodeClaimError: CustomStringConvertible {
    /// What is wrong, where, and the mend.
    public var description: String {
        switch self {
        case .invalid(let field, let problem): "node \(field): \(problem); correct the proxy's bootstrap"
        case .tooMuch(let field, let limit): "node \(field): more than \(limit); shorten it in the proxy's bootstrap"
        case .contradictsIdentity(let field, let claimed, let proved):
            "node \(field): it says `\(claimed)` and its identity says `\(proved)`; "
                + "give the workload an identity of its own"
        }
    }
}

/// What a proxy says of itself in Istio's words, read strictly and within bounds: whatever a stranger sends is refused
/// or small. Source: Istio, node metadata of the proxy's bootstrap; the id is `KIND~ADDRESS~NAME.NAMESPACE~DOMAIN`.
public struct NodeClaims: Hashable, Sendable {
    /// Bytes of the longest text.
    public static let longestText = 255
    public static let mostLabels = 64
    public static let mostAddresses = 16
    public static let mostPorts = 64

    /// What is read of a node's metadata.
    public static let metadataNames: Set<String> = [
        "GENERATOR", "INSTANCE_IPS", "INTERCEPTION_MODE", "LABELS", "MARTINET", "NAME", "NAMESPACE",
        "POD_PORTS", "SERVICE_ACCOUNT", "WORKLOAD_NAME",
    ]

    public var kind: ProxyClass.Kind
    /// Of the workload; unique in its namespace.
    public var name: String
    public var namespace: String
    public var serviceAccount: String
    public var labels: [String: String]
    /// Addresses that others reach it by, the first one first.
    public var addresses: [String]
    public var ports: [Kubernetes.ContainerPort]
    public var interception: ProxyClass.Interception
    public var applicationAddress: String
    public var locality: XDS.Locality

    public init(_ node: XDS.Node) throws(NodeClaimError) {
        let fields = NodeFields(node.metadata)
        let parts = node.id.split(separator: "~", omittingEmptySubsequences: false).map(String.init)
        let hasIstioID = parts.count == 4
        guard node.id.utf8.count <= 1024 else { throw .tooMuch(field: "id", limit: 1024) }

        kind = try Self.kind(hasIstioID ? parts[0] : nil, generator: fields.text("GENERATOR"))
        let proved = node.principal.flatMap { try? SPIFFEID($0).workload }
        var idNamespace: String?
        var idName: String?
        if hasIstioID, let dot = parts[2].lastIndex(of: ".") {
            idName = String(parts[2][..<dot])
            idNamespace = String(parts[2][parts[2].index(after: dot)...])
        }
        namespace = try Self.agreed(
            "NAMESPACE", [try fields.text("NAMESPACE"), proved?.namespace, idNamespace], proved?.namespace)
        guard Self.isName(namespace) else {
            throw .invalid(field: "NAMESPACE", problem: namespace.isEmpty ? "it is missing" : "it is no name")
        }
        serviceAccount = try Self.agreed(
            "SERVICE_ACCOUNT", [try fields.text("SERVICE_ACCOUNT"), proved?.serviceAccount, "default"],
            proved?.serviceAccount)
        guard Self.isName(serviceAccount) else { throw .invalid(field: "SERVICE_ACCOUNT", problem: "it is no name") }
        name = try fields.text("NAME") ?? idName ?? node.id
        guard !name.isEmpty, name.utf8.count <= Self.longestText else {
            throw .invalid(field: "id", problem: "it is empty or longer than \(Self.longestText) bytes")
        }
        labels = try fields.labels("LABELS")

        let own = try fields.mapping("MARTINET")
        addresses = try fields.addresses("INSTANCE_IPS")
        if addresses.isEmpty, hasIstioID, IPAddress(parts[1]) != nil { addresses = [parts[1]] }
        ports = try fields.ports("POD_PORTS")
        interception = try Self.interception(
            fields.text("INTERCEPTION_MODE"), inbound: addresses.first, outbound: own.address("OUTBOUND_ADDRESS"))
        applicationAddress = try own.address("APP_ADDRESS") ?? "127.0.0.1"
        for text in [node.locality.region, node.locality.zone, node.locality.subZone]
        where text.utf8.count > Self.longestText {
            throw .tooMuch(field: "locality", limit: Self.longestText)
        }
        locality = node.locality
    }

    private static func kind(_ word: String?, generator: String?) throws(NodeClaimError) -> ProxyClass.Kind {
        if generator == "grpc" { return .proxyless }
        switch word {
        case nil, "sidecar": return .sidecar
        case "router": return .gateway
        default: throw .invalid(field: "id", problem: "it begins with neither `sidecar~` nor `router~`")
        }
    }

    /// The first that is there; what was proved must not be contradicted.
    private static func agreed(
        _ field: String, _ claims: [String?], _ proved: String?
    ) throws(NodeClaimError) -> String {
        let claimed = claims.compactMap { $0 }.first ?? ""
        if let proved, proved != claimed {
            throw .contradictsIdentity(field: field, claimed: String(claimed.prefix(longestText)), proved: proved)
        }
        return claimed
    }

    private static func interception(
        _ word: String?, inbound: String?, outbound: String?
    ) throws(NodeClaimError) -> ProxyClass.Interception {
        switch word {
        case nil, "", "REDIRECT": return .redirect
        case "TPROXY": return .transparent
        case "NONE":
            guard let inbound else {
                throw .invalid(field: "INSTANCE_IPS", problem: "without interception it must have an address")
            }
            return .explicit(ProxyClass.ExplicitAddresses(inbound: inbound, outbound: outbound ?? "127.0.0.1"))
        default:
            throw .invalid(field: "INTERCEPTION_MODE", problem: "it is neither REDIRECT, TPROXY nor NONE")
        }
    }

    static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= longestText
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}

extension ProxyClass {
    /// What a proxy's claims come to. Addresses count only where nothing is intercepted.
    public init(_ claims: NodeClaims) {
        self.init(
            claims.kind, namespace: claims.namespace, labels: claims.labels, serviceAccount: claims.serviceAccount,
            interception: claims.interception, applicationAddress: claims.applicationAddress,
            locality: claims.locality,
            namedPorts: Dictionary(
                claims.ports.compactMap { port in port.name.map { ($0, port.port) } }, uniquingKeysWith: { a, _ in a }))
    }

    /// The class of a proxy; nil where it says something that cannot be (``NodeClaims`` says what).
    public init?(node: XDS.Node) {
        guard let claims = try? NodeClaims(node) else { return nil }
        self.init(claims)
    }
}

extension Workload {
    /// The workload that a proxy stands beside; gateways are workloads too.
    public init(_ claims: NodeClaims) {
        self.init(
            id: ID(namespace: claims.namespace, name: claims.name), labels: claims.labels,
            serviceAccount: claims.serviceAccount, ports: claims.ports, addresses: claims.addresses,
            isProxyless: claims.kind == .proxyless)
    }

    /// The workload that a proxy stands beside; nil where it says something that cannot be.
    public init?(node: XDS.Node) {
        guard let claims = try? NodeClaims(node) else { return nil }
        self.init(claims)
    }
}
