import EnvoyAPI
import Mesh
import Protobuf

// Listeners, and what is in them. Source: Istio, EnvoyFilter, ListenerMatch.
extension ResourcePatching {
    private typealias Match = Istio.EnvoyFilter.ListenerMatch

    private static let manager = "envoy.filters.network.http_connection_manager"
    private static let router = "envoy.filters.http.router"

    /// - Returns: false if it is taken away.
    func listener(_ listener: inout UnsafeMutablePointer<Listener>) -> Bool {
        for patch in patches(of: .listener) where takes(patch, listener) {
            switch patch.patch.operation {
            case .remove: return false
            case .merge, .mergeAndReplaceList:
                if let value: UnsafeMutablePointer<Listener> = translator.value(of: patch) {
                    listener = translator.merged(listener, value, by: patch.patch.operation)
                }
            case .add, .replace, .insertBefore, .insertAfter, .insertFirst: continue
            }
        }
        for patch in patches(of: .listenerFilter) where takes(patch, listener) {
            let wanted = match(patch)?.listenerFilter
            let list = changed(
                Array(listener.pointee.listener_filters_list), by: patch,
                takes: { wanted == nil || $0.pointee.name.string == wanted }, namesOne: wanted != nil,
                merge: { translator.merged($0, $1, by: patch.patch.operation) })
            (listener.pointee.n_listener_filters, listener.pointee.listener_filters) = translator.arena.list(list)
        }
        filterChains(listener)
        for chain in chains(of: listener) { filters(chain, listener) }
        return true
    }

    private func chains(of listener: UnsafeMutablePointer<Listener>) -> [UnsafeMutablePointer<FilterChain>] {
        Array(listener.pointee.filter_chains_list) + [listener.pointee.default_filter_chain].compactMap { $0 }
    }

    private func filterChains(_ listener: UnsafeMutablePointer<Listener>) {
        for patch in patches(of: .filterChain) where takes(patch, listener) {
            let list = changed(
                Array(listener.pointee.filter_chains_list), by: patch, takes: { takes(patch, $0, listener) },
                namesOne: false,
                merge: { translator.merged($0, $1, by: patch.patch.operation) })
            (listener.pointee.n_filter_chains, listener.pointee.filter_chains) = translator.arena.list(list)
            guard let standard = listener.pointee.default_filter_chain, takes(patch, standard, listener),
                patch.patch.operation != .add
            else { continue }
            let value: UnsafeMutablePointer<FilterChain>? = translator.value(of: patch)
            if patch.patch.operation == .remove {
                listener.pointee.default_filter_chain = nil
            } else if let value {
                listener.pointee.default_filter_chain = translator.merged(
                    standard, value, by: patch.patch.operation)
            }
        }
    }

    private func filters(_ chain: UnsafeMutablePointer<FilterChain>, _ listener: UnsafeMutablePointer<Listener>) {
        for patch in patches(of: .networkFilter) where takes(patch, listener) && takes(patch, chain, listener) {
            let wanted = match(patch)?.filter
            let list = changed(
                Array(chain.pointee.filters_list), by: patch,
                takes: { wanted == nil || $0.pointee.name.string == wanted }, namesOne: wanted != nil,
                merge: { filter, value in
                    let made = translator.merged(filter, value, by: patch.patch.operation)
                    if case .typed_config(let one)? = filter.pointee.config_type,
                        case .typed_config(let other)? = value.pointee.config_type
                    {
                        made.pointee.set(typed_config: translator.merged(one, other, by: patch.patch.operation))
                    }
                    return made
                })
            (chain.pointee.n_filters, chain.pointee.filters) = translator.arena.list(list)
        }
        for filter in chain.pointee.filters_list where filter.pointee.name.string == Self.manager {
            httpFilters(filter, chain, listener)
        }
    }

    /// What is in the HTTP connection manager: its filters, and its routes if it has them itself.
    private func httpFilters(
        _ filter: UnsafeMutablePointer<NetworkFilter>, _ chain: UnsafeMutablePointer<FilterChain>,
        _ listener: UnsafeMutablePointer<Listener>
    ) {
        let wanted = patches(of: .httpFilter).filter {
            takes($0, listener) && takes($0, chain, listener)
                && (match($0)?.filter == nil || match($0)?.filter == Self.manager)
        }
        let routePatches = patches.contains {
            [.routeConfiguration, .virtualHost, .httpRoute].contains($0.patch.target)
        }
        guard !wanted.isEmpty || routePatches, case .typed_config(let any)? = filter.pointee.config_type,
            let manager = try? translator.arena.decode(HttpConnectionManager.self, from: any.pointee.value_bytes)
        else { return }
        for patch in wanted {
            let name = match(patch)?.subFilter
            let list = changed(
                Array(manager.pointee.http_filters_list), by: patch,
                takes: { name == nil || $0.pointee.name.string == name }, namesOne: name != nil,
                // The router ends the list.
                end: { $0.last?.pointee.name.string == Self.router ? $0.count - 1 : $0.count },
                merge: { filter, value in
                    let made = translator.merged(filter, value, by: patch.patch.operation)
                    if case .typed_config(let one)? = filter.pointee.config_type,
                        case .typed_config(let other)? = value.pointee.config_type
                    {
                        made.pointee.set(typed_config: translator.merged(one, other, by: patch.patch.operation))
                    }
                    return made
                })
            (manager.pointee.n_http_filters, manager.pointee.http_filters) = translator.arena.list(list)
        }
        if case .route_config(var routes)? = manager.pointee.route_specifier, self.routes(&routes) {
            manager.pointee.set(route_config: routes)
        }
        filter.pointee.set(typed_config: translator.arena.any(manager))
    }

    // MARK: Matching

    private func match(_ patch: FilterPatch) -> Match? {
        if case .listener(let match) = patch.patch.match.resource { match } else { nil }
    }

    private func port(of listener: UnsafeMutablePointer<Listener>) -> Int? {
        guard case .socket_address(let address)? = listener.pointee.address?.pointee.address,
            case .port_value(let port)? = address.pointee.port_specifier
        else { return nil }
        return Int(port)
    }

    /// The port of a listener that takes redirected connections is that of its chains.
    private func takes(_ patch: FilterPatch, _ listener: UnsafeMutablePointer<Listener>) -> Bool {
        guard let match = match(patch) else { return patch.patch.match.resource == .any }
        if let name = match.name, name != listener.pointee.name.string { return false }
        guard let port = match.port else { return true }
        return port == self.port(of: listener)
            || chains(of: listener).contains {
                $0.pointee.filter_chain_match?.pointee.destination_port.map { Int($0.pointee.value) } == port
            }
    }

    private func takes(
        _ patch: FilterPatch, _ chain: UnsafeMutablePointer<FilterChain>, _ listener: UnsafeMutablePointer<Listener>
    ) -> Bool {
        guard let match = match(patch) else { return true }
        let asked = chain.pointee.filter_chain_match
        let destination = asked?.pointee.destination_port.map { Int($0.pointee.value) }
        if let name = match.chainName, name != chain.pointee.name.string { return false }
        if let name = match.serverName, asked.map({ $0.pointee.server_names_list.contains(name) }) != true {
            return false
        }
        if let transport = match.transportProtocol, asked?.pointee.transport_protocol.string != transport {
            return false
        }
        if let list = match.applicationProtocols {
            let wanted = list.split(separator: ",").map { String($0.filter { $0 != " " }) }
            if asked.map({ Array($0.pointee.application_protocols_list) }) != wanted { return false }
        }
        if let port = match.destinationPort, destination != port { return false }
        if let port = match.port, port != self.port(of: listener), destination != port { return false }
        return true
    }
}
