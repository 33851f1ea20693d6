import EnvoyAPI
import Mesh
import Protobuf

// Route configurations, and what is in them. Source: Istio, EnvoyFilter, RouteConfigurationMatch.
extension ResourcePatching {
    private typealias Match = Istio.EnvoyFilter.RouteMatch

    /// - Returns: whether it is still there.
    func routes(_ routes: inout UnsafeMutablePointer<RouteConfiguration>) -> Bool {
        for patch in patches(of: .routeConfiguration) where takes(patch, routes) {
            switch patch.patch.operation {
            case .merge, .mergeAndReplaceList:
                if let value: UnsafeMutablePointer<RouteConfiguration> = translator.value(of: patch) {
                    routes = translator.merged(routes, value, by: patch.patch.operation)
                }
            case .remove, .add, .replace, .insertBefore, .insertAfter, .insertFirst: continue
            }
        }
        for patch in patches(of: .virtualHost) where takes(patch, routes) {
            let list = changed(
                Array(routes.pointee.virtual_hosts_list), by: patch, takes: { takes(patch, $0) },
                namesOne: match(patch)?.virtualHost != nil,
                merge: { translator.merged($0, $1, by: patch.patch.operation) })
            (routes.pointee.n_virtual_hosts, routes.pointee.virtual_hosts) = translator.arena.list(list)
        }
        for patch in patches(of: .httpRoute) where takes(patch, routes) {
            for host in routes.pointee.virtual_hosts_list where takes(patch, host) {
                let list = changed(
                    Array(host.pointee.routes_list), by: patch, takes: { takes(patch, $0) },
                    namesOne: match(patch)?.route != nil,
                    merge: { translator.merged($0, $1, by: patch.patch.operation) })
                (host.pointee.n_routes, host.pointee.routes) = translator.arena.list(list)
            }
        }
        return true
    }

    private func match(_ patch: FilterPatch) -> Match? {
        if case .route(let match) = patch.patch.match.resource { match } else { nil }
    }

    /// A sidecar's routes are named after their port, `9080` or `inbound|9080||`; those of gateways hold it: `http.8080`.
    private func takes(_ patch: FilterPatch, _ routes: UnsafeMutablePointer<RouteConfiguration>) -> Bool {
        guard let match = match(patch) else { return patch.patch.match.resource == .any }
        let name = routes.pointee.name.string
        if let wanted = match.name, wanted != name { return false }
        let parts = name.split { !$0.isLetter && !$0.isNumber && $0 != "-" }.map(String.init)
        if let port = match.port, !parts.contains("\(port)") { return false }
        if let port = match.portName, !parts.contains(port) { return false }
        if let gateway = match.gateway {
            let names = gateway.split(separator: "/").map(String.init)
            if !names.allSatisfy(parts.contains) { return false }
        }
        return true
    }

    private func takes(_ patch: FilterPatch, _ host: UnsafeMutablePointer<VirtualHost>) -> Bool {
        guard let match = match(patch) else { return true }
        if let name = match.virtualHost, name != host.pointee.name.string { return false }
        if let domain = match.domain, !host.pointee.domains_list.contains(domain) { return false }
        return true
    }

    private func takes(_ patch: FilterPatch, _ route: UnsafeMutablePointer<Route>) -> Bool {
        guard let match = match(patch) else { return true }
        if let name = match.route, name != route.pointee.name.string { return false }
        switch (match.action, route.pointee.action) {
        case (.any, _), (.route, .route), (.redirect, .redirect), (.directResponse, .direct_response): return true
        case (.route, _), (.redirect, _), (.directResponse, _): return false
        }
    }
}
