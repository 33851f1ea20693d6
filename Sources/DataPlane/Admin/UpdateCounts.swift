import XDS

/// What the control plane sent, counted.
struct UpdateCounts: Sendable {
    struct Count: Sendable, Equatable {
        var taken = 0
        var refused = 0
    }

    private struct Key: Hashable {
        var type: ResourceType
        var name: String
    }

    /// Responses, by type.
    var accepted: [ResourceType: Int] = [:]
    var refused: [ResourceType: Int] = [:]
    var failedConnections = 0
    var isConnected = false
    /// Of endpoints and routes each, as long as they are subscribed to.
    private var byName: [Key: Count] = [:]

    private static let counted: Set<ResourceType> = [.endpoints, .route]

    mutating func note(_ type: ResourceType, _ name: String, _ body: (inout Count) -> Void) {
        if Self.counted.contains(type) { body(&byName[Key(type: type, name: name), default: Count()]) }
    }

    mutating func forget(_ type: ResourceType, _ name: String) { byName[Key(type: type, name: name)] = nil }

    private func statistics(_ scope: Statistic.Scope, _ prefix: String, _ type: ResourceType, _ name: String)
        -> [Statistic]
    {
        let count = byName[Key(type: type, name: name)] ?? Count()
        return [
            Statistic(scope, prefix + "update_success", Int64(count.taken)),
            Statistic(scope, prefix + "update_rejected", Int64(count.refused)),
        ]
    }

    /// `cluster.NAME.update_success` and `http.PREFIX.rds.NAME.update_success`, each with `update_rejected`.
    func statistics(of table: ResourceTable<CompiledResource>) -> [Statistic] {
        var all: [Statistic] = []
        for (name, resource) in table.clusters {
            for endpoints in resource.references.endpoints {
                all += statistics(.cluster(name), "", .endpoints, endpoints)
            }
        }
        var seen: Set<[String]> = []
        for resource in table.listeners.values {
            guard case .listener(let listener) = resource.value else { continue }
            for chain in listener.allChains {
                guard case .http(let settings) = chain.terminal, case .named(let name) = settings.routes,
                    seen.insert([settings.statPrefix, name]).inserted
                else { continue }
                let shown = String(
                    decoding: name.utf8.map { $0 == UInt8(ascii: ":") ? UInt8(ascii: "_") : $0 }, as: UTF8.self)
                all += statistics(.http(settings.statPrefix), "rds.\(shown).", .route, name)
            }
        }
        return all
    }
}
