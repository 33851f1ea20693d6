import Addresses
import EnvoyAPI
import Forwarding
import Protobuf
import Testing
import Time

// What the tests of upstreams share.

/// A cluster as YAML; what is not said is a cluster of EDS with round robin.
func clusterOf(_ fields: String) throws -> ClusterConfiguration {
    var text = fields
    if !text.contains("name:") || !text.hasPrefix("name:") { text = "name: web\n" + text }
    if !text.contains("\ntype:"), !text.contains("\ncluster_type:") { text += "\ntype: EDS" }
    let arena = Arena()
    let message = try arena.decodeYAML(Cluster.self, text, types: envoyTypes)
    return try ClusterConfiguration(encode(message))
}

func endpointsOf(_ text: String) throws -> EndpointSet {
    let arena = Arena()
    let message = try arena.decodeYAML(ClusterLoadAssignment.self, text, types: envoyTypes)
    return try EndpointSet(encode(message))
}

/// What the refusal of a cluster says.
func refusalOf(_ fields: String) -> String {
    do {
        _ = try clusterOf(fields)
        return "accepted"
    } catch {
        return "\(error)"
    }
}

func hostAddress(_ number: Int) -> NetworkAddress {
    .ip(IPAddress("10.0.\(number / 250).\(number % 250 + 1)")!, port: 80)
}

func endpoint(
    _ number: Int, weight: Int = 1, state: HostState = .unknown, labels: [StructureValue.Field] = []
) -> UpstreamEndpoint {
    var made = UpstreamEndpoint(place: .address(hostAddress(number)))
    made.weight = weight
    made.state = state
    if !labels.isEmpty { made.metadata = FilterMetadata(["envoy.lb": labels]) }
    return made
}

extension FilterMetadata {
    init(_ filters: KeyValuePairs<String, [StructureValue.Field]>) {
        self.init()
        for (name, fields) in filters { merge(name, fields) }
    }
}

/// One locality per level.
func set(_ levels: [UpstreamEndpoint]..., overprovisioning: Int = 140) -> EndpointSet {
    EndpointSet(
        name: "web", levels: levels.map { [EndpointSet.Group(weight: 1, endpoints: $0)] },
        overprovisioning: overprovisioning)
}

/// A cluster with a virtual clock and a seeded generator.
struct UpstreamRig {
    let cluster: UpstreamCluster
    var now = Instant(nanoseconds: 1_000_000_000)
    var random: SeededRandom

    init(_ fields: String = "", _ endpoints: EndpointSet? = nil, seed: UInt64 = 1) throws {
        random = SeededRandom(seed: seed)
        cluster = UpstreamCluster(try clusterOf(fields), now: now, random: &random)
        if let endpoints { update(endpoints) }
    }

    @discardableResult
    mutating func update(_ endpoints: EndpointSet) -> HostChanges {
        cluster.update(endpoints, now: now, random: &random)
    }

    mutating func pick(_ question: PickQuestion = PickQuestion()) -> UpstreamHost? {
        cluster.pick(question, now: now, random: &random)
    }

    mutating func some(_ question: PickQuestion = PickQuestion()) throws -> UpstreamHost {
        let host = pick(question)
        return try #require(host)
    }

    /// The number of the host, as ``endpoint(_:weight:state:labels:)`` counts.
    mutating func number(_ question: PickQuestion = PickQuestion()) -> Int? {
        pick(question).map { numberOf($0) }
    }

    mutating func numbers(_ count: Int, _ question: PickQuestion = PickQuestion()) -> [Int] {
        (0..<count).compactMap { _ in number(question) }
    }

    /// How often each host is picked.
    mutating func counts(_ count: Int, _ question: PickQuestion = PickQuestion()) -> [Int: Int] {
        numbers(count, question).reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }

    mutating func report(_ outcome: HostOutcome, _ host: UpstreamHost) {
        cluster.report(outcome, of: host, now: now, random: &random)
    }

    mutating func wait(_ duration: Duration) {
        now = now.advanced(by: duration)
        _ = cluster.tick(now: now, random: &random)
    }

    mutating func probes() -> [Probe] { cluster.probes(now: now, random: &random) }

    mutating func answer(_ outcome: ProbeOutcome, _ probe: Probe) {
        cluster.report(outcome, of: probe, now: now, random: &random)
    }

    func host(_ number: Int) -> UpstreamHost { cluster.host(at: hostAddress(number))! }
}

func numberOf(_ host: UpstreamHost) -> Int {
    guard let bytes = host.address.ip?.bytes else { return -1 }
    return Int(bytes[2]) * 250 + Int(bytes[3]) - 1
}

/// Whether so many hits are likely: within five standard deviations.
func expectShare(
    _ hits: Int?, of total: Int, _ share: Double, sourceLocation: SourceLocation = #_sourceLocation
) {
    let mean = Double(total) * share
    let bound = 5 * (mean * (1 - share)).squareRoot() + 1
    #expect(abs(Double(hits ?? 0) - mean) <= bound, sourceLocation: sourceLocation)
}
