import Documents

/// One number that a proxy counts, under Envoy's name. Source: Envoy, "Statistics".
public struct Statistic: Hashable, Sendable {
    /// What it is counted for: a name of its own in Prometheus' form, where Envoy's has it in the middle.
    public enum Scope: Hashable, Sendable {
        /// `server.`, `listener_manager.`, `cluster_manager.` and the like, as a prefix without the dot.
        case proxy(String)
        case cluster(String)
        /// By address and port: `0.0.0.0_15006`.
        case listener(String)
        /// By the connection manager's `stat_prefix`.
        case http(String)
        /// By the TCP proxy's `stat_prefix`.
        case tcp(String)
    }

    public enum Kind: Hashable, Sendable {
        case counter, gauge, histogram
    }

    public var scope: Scope
    public var name: String
    public var value: Int64
    public var kind: Kind
    /// Each worker has the same number, or a part of it: the greatest counts, not the sum.
    public var isShared = false
    /// Of a histogram, whose value is how many there were.
    public var histogram: Histogram?

    public init(_ scope: Scope, _ name: String, _ value: Int64, _ kind: Kind = .counter) {
        (self.scope, self.name, self.value, self.kind) = (scope, name, value, kind)
    }

    /// What every worker sees for itself.
    static func shared(_ scope: Scope, _ name: String, _ value: Int) -> Statistic {
        var made = Statistic(scope, name, Int64(value), .gauge)
        made.isShared = true
        return made
    }

    public init(_ scope: Scope, _ name: String, _ histogram: Histogram) {
        self.init(scope, name, Int64(clamping: histogram.count), .histogram)
        self.histogram = histogram
    }

    /// The same numbers of several workers as one.
    static func summed(_ all: [Statistic]) -> [Statistic] {
        struct Key: Hashable {
            var scope: Scope
            var name: String
        }
        var sums: [Key: Statistic] = [:]
        for one in all {
            let key = Key(scope: one.scope, name: one.name)
            guard var sum = sums[key] else {
                sums[key] = one
                continue
            }
            sum.value = one.isShared ? max(sum.value, one.value) : sum.value + one.value
            if let histogram = one.histogram { sum.histogram?.add(histogram) }
            sums[key] = sum
        }
        return Array(sums.values)
    }

    /// `cluster.web.upstream_rq_total`, as `/stats` prints it.
    public var dottedName: String {
        switch scope {
        case .proxy(let prefix): "\(prefix).\(name)"
        case .cluster(let cluster): "cluster.\(Self.safe(cluster)).\(name)"
        case .listener(let address): "listener.\(Self.safe(address)).\(name)"
        case .http(let prefix): "http.\(Self.safe(prefix)).\(name)"
        case .tcp(let prefix): "tcp.\(Self.safe(prefix)).\(name)"
        }
    }

    /// Colons part names in some back ends. Source: Envoy, `Stats::Utility::sanitizeStatsName`.
    private static func safe(_ name: String) -> String {
        String(decoding: name.utf8.map { $0 == UInt8(ascii: ":") || $0 == 0 ? UInt8(ascii: "_") : $0 }, as: UTF8.self)
    }

    /// `envoy_cluster_upstream_rq_xx` and its labels. Response codes become labels too, as in Envoy.
    var metric: (name: String, labels: [(name: String, value: String)]) {
        var labels: [(name: String, value: String)] = []
        let prefix: String
        switch scope {
        case .proxy(let words): prefix = words
        case .cluster(let name):
            prefix = "cluster"
            labels.append(("envoy_cluster_name", name))
        case .listener(let address):
            prefix = "listener"
            labels.append(("envoy_listener_address", address))
        case .http(let name):
            prefix = "http"
            labels.append(("envoy_http_conn_manager_prefix", name))
        case .tcp(let name):
            prefix = "tcp"
            labels.append(("envoy_tcp_prefix", name))
        }
        var rest = name
        let code = Array(rest.utf8.suffix(4))
        if code.count == 4, code[0] == UInt8(ascii: "_"), (UInt8(ascii: "1")...UInt8(ascii: "5")).contains(code[1]) {
            if code[2] == UInt8(ascii: "x"), code[3] == UInt8(ascii: "x") {
                labels.append(("envoy_response_code_class", String(UnicodeScalar(code[1]))))
                rest = String(rest.dropLast(3)) + "xx"
            } else if code[2...].allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
                labels.append(("envoy_response_code", String(decoding: code[1...], as: UTF8.self)))
                rest = String(rest.dropLast(4))
            }
        }
        let letters = "envoy_\(prefix)_\(rest)".utf8.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: ":"):
                byte
            default: UInt8(ascii: "_")
            }
        }
        return (String(decoding: letters, as: UTF8.self), labels)
    }
}

/// What a proxy has counted, in the forms that people and programs read.
public enum StatisticsText {
    /// `name: value` by line, sorted. Source: Envoy, `/stats`.
    public static func plain(_ statistics: [Statistic], matching isWanted: (String) -> Bool = { _ in true }) -> String {
        statistics.map { (name: $0.dottedName, value: $0.value) }.filter { isWanted($0.name) }
            .sorted { $0.name < $1.name }.map { "\($0.name): \($0.value)\n" }.joined()
    }

    /// `{"stats":[{"name":…,"value":…}]}`. Source: Envoy, `/stats?format=json`.
    public static func json(_ statistics: [Statistic], matching isWanted: (String) -> Bool = { _ in true }) -> String {
        let entries = statistics.map { (name: $0.dottedName, value: $0.value) }.filter { isWanted($0.name) }
            .sorted { $0.name < $1.name }.map {
                DocumentNode.object([("name", .text($0.name)), ("value", .number($0.value))])
            }
        return DocumentNode.object([("stats", .list(entries))]).line
    }

    /// Prometheus' text format, version 0.0.4.
    public static func prometheus(_ statistics: [Statistic]) -> String {
        var families: [String: (kind: Statistic.Kind, lines: [String])] = [:]
        for statistic in statistics {
            let (name, labels) = statistic.metric
            let list = labels.map { "\($0.name)=\"\(escaped($0.value))\"" }.joined(separator: ",")
            let line = statistic.histogram?.lines(name, list) ?? "\(name){\(list)} \(statistic.value)\n"
            families[name, default: (statistic.kind, [])].lines.append(line)
        }
        return families.sorted { $0.key < $1.key }.map { name, family in
            "# TYPE \(name) \(family.kind)\n" + family.lines.sorted().joined()
        }.joined()
    }

    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}
