import Addresses
import EnvoyAPI
import Time

/// Where something runs.
public struct EndpointLocality: Hashable, Sendable, Comparable {
    public var region = ""
    public var zone = ""
    public var subZone = ""

    public init(region: String = "", zone: String = "", subZone: String = "") {
        (self.region, self.zone, self.subZone) = (region, zone, subZone)
    }

    public static func < (left: EndpointLocality, right: EndpointLocality) -> Bool {
        (left.region, left.zone, left.subZone) < (right.region, right.zone, right.subZone)
    }
}

/// Where an endpoint is, before names are looked up.
public enum EndpointPlace: Hashable, Sendable {
    case address(NetworkAddress)
    /// The world looks the name up, see ``ClusterConfiguration/Discovery/names(_:_:)``.
    case name(String, port: UInt16)
}

/// One endpoint of a cluster, as its resource says.
public struct UpstreamEndpoint: Sendable {
    public var place: EndpointPlace
    /// Further addresses of the same endpoint, tried where the first cannot be reached.
    public var otherAddresses: [NetworkAddress] = []
    public var hostname = ""
    /// From 1.
    public var weight = 1
    public var state = HostState.unknown
    public var metadata = FilterMetadata()
    /// That of its locality's entry.
    public var localityMetadata = FilterMetadata()
    /// Where checks go, if not to the endpoint's address.
    public var checkAddress: NetworkAddress?
    /// 0: the endpoint's own.
    public var checkPort: UInt16 = 0
    /// What checks call the host; empty: as the endpoint or the check says.
    public var checkHostname = ""
    public var isChecked = true

    public init(place: EndpointPlace) {
        self.place = place
    }

    /// What its keys are hashed from, where that is not its address. Source: Envoy, metadata `envoy.lb`, `hash_key`.
    var hashKey: String? {
        guard case .string(let key) = metadata["envoy.lb"]?.value("hash_key") else { return nil }
        return key
    }

    var isCanary: Bool { metadata["envoy.lb"]?.value("canary") == .bool(true) }
}

/// The endpoints of one cluster, by priority and locality. Immutable, shared by all workers.
public final class EndpointSet: Sendable {
    /// The endpoints of one locality at one priority.
    public struct Group: Sendable {
        public var locality = EndpointLocality()
        /// Among the localities of its priority; 0: the resource gives none.
        public var weight = 0
        public var endpoints: [UpstreamEndpoint] = []

        public init(
            locality: EndpointLocality = EndpointLocality(), weight: Int = 0, endpoints: [UpstreamEndpoint] = []
        ) {
            (self.locality, self.weight, self.endpoints) = (locality, weight, endpoints)
        }
    }

    /// Requests of a category, of which a share is dropped.
    public struct Drop: Sendable, Equatable {
        public var category: String
        /// Of a million.
        public var perMillion: Int
    }

    /// The cluster's name, or its `service_name`.
    public let name: String
    /// By priority, 0 first; each locality once.
    public let levels: [[Group]]
    /// How many healthy hosts stand for one, in percent: with 140, a priority has all its load while 72 of 100 are
    /// healthy.
    public let overprovisioning: Int
    /// Whether weights rather than hosts are counted for that.
    public let countsWeights: Bool
    public let drops: [Drop]

    public init(
        name: String, levels: [[Group]], overprovisioning: Int = 140, countsWeights: Bool = false, drops: [Drop] = []
    ) {
        self.name = name
        self.levels = levels
        self.overprovisioning = overprovisioning
        self.countsWeights = countsWeights
        self.drops = drops
    }

    public var count: Int { levels.joined().reduce(0) { $0 + $1.endpoints.count } }

    /// The names among the places, each once, sorted.
    public var names: [String] {
        var names: Set<String> = []
        for group in levels.joined() {
            for endpoint in group.endpoints {
                if case .name(let name, _) = endpoint.place { names.insert(name) }
            }
        }
        return names.sorted()
    }

    /// The same with addresses in place of names.
    /// - Parameters:
    ///   - answers: by name; a name without an answer has no endpoint.
    ///   - takesFirst: one address stands for the whole name (`LOGICAL_DNS`).
    public func resolved(_ answers: [String: [IPAddress]], takesFirst: Bool) -> EndpointSet {
        let levels = self.levels.map { groups in
            groups.map { group in
                var group = group
                group.endpoints = group.endpoints.flatMap { endpoint -> [UpstreamEndpoint] in
                    guard case .name(let name, let port) = endpoint.place else { return [endpoint] }
                    let found = answers[name] ?? []
                    return (takesFirst ? Array(found.prefix(1)) : found).map { address in
                        var made = endpoint
                        made.place = .address(.ip(address, port: port))
                        if made.hostname.isEmpty { made.hostname = name }
                        return made
                    }
                }
                return group
            }
        }
        return EndpointSet(
            name: name, levels: levels, overprovisioning: overprovisioning, countsWeights: countsWeights, drops: drops)
    }
}
