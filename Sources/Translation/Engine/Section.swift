import Mesh
import XDS

/// A scope by a number: sections are looked up by it a great many times.
struct ScopeNumber: Hashable, Sendable {
    var number: UInt32
}

/// What is made as one piece, and made anew as one.
enum Section: Hashable, Sendable {
    /// Objects that clients do not all see alike.
    case partialObjects
    /// Hosts that some VirtualService or route of the Gateway API is about.
    case routedHosts
    /// Labels of clients that objects which shape outbound listeners select by.
    case listenerSelectors
    /// Why clients of a namespace are a case of their own.
    case interests(namespace: String)
    case scope(ProxyClass)
    case services(ScopeNumber)
    case ports(ScopeNumber)
    case differences(ScopeNumber)
    case commonClusters
    case clusters(ScopeNumber, host: String)
    case endpoints(ScopeNumber, host: String)
    case virtualHost(ScopeNumber, port: Int, host: String)
    case extraHosts(ScopeNumber, port: Int)
    /// Of clients that nothing is about.
    case frame(ScopeNumber, port: Int)
    case routes(ScopeNumber, port: Int)
    case outboundListeners(ProxyClass, ScopeNumber)
    case inbound(ProxyClass)
    case gateway(ProxyClass)
    case proxyless(ProxyClass, ScopeNumber)
}

/// The kinds of sections, for counts.
public enum SectionKind: String, Hashable, Sendable, Comparable {
    /// What is only looked up to make others.
    case lookup
    case clusters, endpoints, virtualHost, routes, outboundListeners, inbound, gateway, proxyless

    public static func < (left: SectionKind, right: SectionKind) -> Bool { left.rawValue < right.rawValue }
}

extension Section {
    /// Of a section about one host that clients may call.
    var host: String? {
        switch self {
        case .clusters(_, let host), .endpoints(_, let host): host
        default: nil
        }
    }

    var kind: SectionKind {
        switch self {
        case .partialObjects, .routedHosts, .listenerSelectors, .interests, .scope, .services, .ports, .differences,
            .frame:
            .lookup
        case .commonClusters, .clusters: .clusters
        case .endpoints: .endpoints
        case .virtualHost, .extraHosts: .virtualHost
        case .routes: .routes
        case .outboundListeners: .outboundListeners
        case .inbound: .inbound
        case .gateway: .gateway
        case .proxyless: .proxyless
        }
    }
}

/// Why clients of a namespace may see services in another way than those of others.
struct Interests: Hashable, Sendable {
    /// Hosts whose services, clusters or endpoints may differ; wildcards with their star.
    var services: [String] = []
    /// Hosts whose routes may differ.
    var routes: [String] = []
    /// Whether objects of the namespace shape the outbound listeners of its workloads.
    var shapesListeners = false
}

/// In what a scope differs from the scope of clients that nothing is about.
struct Differences: Hashable, Sendable {
    /// Hosts whose clusters and endpoints are made for this scope alone.
    var clusters: Set<String> = []
    /// Hosts whose virtual hosts are.
    var routes: Set<String> = []
    /// Ports whose route configurations are; nil: all.
    var ports: Set<Int>? = []
    /// Whether listeners are.
    var listeners = false
    /// Whether the scope sees less than others: what it sees is listed, and not what differs.
    var isApart = false
}

/// What a section came to, with what users should know of their objects.
struct SectionValue: Equatable, Sendable {
    enum Content: Equatable, Sendable {
        case partialObjects([PartialObject])
        case hosts([String])
        case interests(Interests)
        case scope(OutboundScope)
        case services([MeshService])
        /// Positions in the list of services, by port.
        case ports([Int: [Int]])
        case differences(Differences)
        case packed([[UInt8]])
        case frame(RouteFrame)
        case resources([Resource])

        /// Resources are told apart by identity: equal ones are one object.
        static func == (left: Content, right: Content) -> Bool {
            switch (left, right) {
            case (.partialObjects(let one), .partialObjects(let other)): one == other
            case (.hosts(let one), .hosts(let other)): one == other
            case (.interests(let one), .interests(let other)): one == other
            case (.scope(let one), .scope(let other)): one == other
            case (.services(let one), .services(let other)): one == other
            case (.ports(let one), .ports(let other)): one == other
            case (.differences(let one), .differences(let other)): one == other
            case (.packed(let one), .packed(let other)): one == other
            case (.frame(let one), .frame(let other)): one == other
            case (.resources(let one), .resources(let other)):
                one.count == other.count && zip(one, other).allSatisfy { $0 === $1 }
            default: false
            }
        }
    }

    var content: Content
    var warnings: [MeshFinding] = []
}

extension SectionValue {
    // Sections of one case have values of one case: anything else is our own mistake.

    var partialObjects: [PartialObject] {
        if case .partialObjects(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var hosts: [String] { if case .hosts(let value) = content { value } else { preconditionFailure("\(content)") } }
    var interests: Interests {
        if case .interests(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var scope: OutboundScope {
        if case .scope(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var services: [MeshService] {
        if case .services(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var ports: [Int: [Int]] {
        if case .ports(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var differences: Differences {
        if case .differences(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var packed: [[UInt8]] {
        if case .packed(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var frame: RouteFrame {
        if case .frame(let value) = content { value } else { preconditionFailure("\(content)") }
    }
    var resources: [Resource] {
        if case .resources(let value) = content { value } else { preconditionFailure("\(content)") }
    }
}

/// Numbers of scopes. Each scope has one that stands for all clients of its kind that nothing is about.
struct ScopeTable: Sendable {
    private var scopes: [UInt32: OutboundScope] = [:]
    private var numbers: [OutboundScope: UInt32] = [:]
    private var plain: [UInt32: UInt32] = [:]
    private var last: UInt32 = 0

    /// - Returns: the scope's number and that of the scope that it is compared with.
    mutating func add(_ scope: OutboundScope) -> (own: ScopeNumber, plain: ScopeNumber) {
        let number = number(of: scope)
        let other = self.number(
            of: OutboundScope(namespace: "", kind: scope.kind, followsDestination: scope.followsDestination))
        plain[number] = other
        plain[other] = other
        return (ScopeNumber(number: number), ScopeNumber(number: other))
    }

    private mutating func number(of scope: OutboundScope) -> UInt32 {
        if let known = numbers[scope] { return known }
        last += 1
        numbers[scope] = last
        scopes[last] = scope
        return last
    }

    mutating func remove(_ number: ScopeNumber) {
        if let scope = scopes.removeValue(forKey: number.number) { numbers[scope] = nil }
        plain[number.number] = nil
    }

    subscript(number: ScopeNumber) -> OutboundScope { scopes[number.number]! }

    func plain(of number: ScopeNumber) -> ScopeNumber { ScopeNumber(number: plain[number.number]!) }
}
