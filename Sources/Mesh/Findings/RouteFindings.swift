import Documents

extension MeshIndex {
    func findings(_ object: MeshObject, _ service: Istio.VirtualService) -> [MeshFinding] {
        gatewayFindings(object, service) + hostFindings(object, service) + claimFindings(object, service)
            + actionFindings(object, service) + shadowFindings(object, service.http)
    }

    /// Gateways that are not there, and hosts that no server of theirs takes.
    private func gatewayFindings(_ object: MeshObject, _ service: Istio.VirtualService) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        for (index, name) in service.gateways.enumerated() where name != Istio.VirtualService.meshGateway {
            guard let found = gateway(named: name, from: object.key.namespace), case .gateway(let gateway) = found.body
            else {
                let names = objects(of: .gateway, in: object.key.namespace).map(\.key.name)
                findings.append(
                    object.finding(
                        .warning, .unknownGateway, at: "spec.gateways[\(index)]", "there is no Gateway `\(name)`",
                        mend: suggestion(for: name, among: names).map { "did you mean `\($0)`?" }
                            ?? "add it, or write NAMESPACE/NAME"))
                continue
            }
            let taken = gateway.servers.flatMap(\.hosts)
            for (number, host) in service.hosts.enumerated() {
                let isTaken = taken.contains { scoped in
                    let namespace = scoped.namespace == "." ? found.key.namespace : scoped.namespace
                    return (namespace == "*" || namespace == object.key.namespace)
                        && hostsOverlap(scoped.host.lowercased(), host.lowercased())
                }
                if !isTaken {
                    findings.append(
                        object.finding(
                            .warning, .refusedByParent, at: "spec.hosts[\(number)]",
                            "no server of Gateway `\(name)` takes `\(host)`", mend: "add it to the Gateway's `hosts`"))
                }
            }
        }
        return findings
    }

    /// Hosts that sidecars would route, of which no service is known.
    private func hostFindings(_ object: MeshObject, _ service: Istio.VirtualService) -> [MeshFinding] {
        guard service.gateways.contains(Istio.VirtualService.meshGateway) else { return [] }
        return service.hosts.enumerated().compactMap { index, host in
            services(matching: host, from: object.key.namespace).isEmpty
                ? noSuchHost(object, host, at: "spec.hosts[\(index)]") : nil
        }
    }

    /// Another VirtualService with the same host on the same gateway: gateways merge them, sidecars take the older one.
    private func claimFindings(_ object: MeshObject, _ service: Istio.VirtualService) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        let mine = Set(service.gateways.map { fullGateway($0, in: object.key.namespace) })
        for (index, host) in service.hosts.enumerated() {
            let full = Self.statedHost(host, in: object.key.namespace)
            for other in objects(claims[full]) where other.key != object.key {
                guard case .virtualService(let otherService) = other.body, meet(object, service, other, otherService),
                    other.isOlder(than: object)
                else { continue }
                let theirs = Set(otherService.gateways.map { fullGateway($0, in: other.key.namespace) })
                guard let shared = mine.intersection(theirs).sorted().first else { continue }
                let isMesh = mine.intersection(theirs).contains(Istio.VirtualService.meshGateway)
                findings.append(
                    object.finding(
                        isMesh ? .error : .warning, .hostClaimedTwice, at: "spec.hosts[\(index)]",
                        isMesh
                            ? "\(other.key) routes `\(host)` in the sidecars already"
                            : "\(other.key) routes `\(host)` on the gateway \(shared) too: its routes come first",
                        mend: "put the routes into one of them, or delegate"))
            }
        }
        return findings
    }

    /// Whether some namespace sees both.
    private func meet(
        _ one: MeshObject, _ service: Istio.VirtualService, _ other: MeshObject, _ otherService: Istio.VirtualService
    ) -> Bool {
        func targets(_ object: MeshObject, _ list: [String]) -> Set<String>? {
            list.isEmpty || list.contains("*") ? nil : Set(list.map { $0 == "." ? object.key.namespace : $0 })
        }
        switch (targets(one, service.exportTo), targets(other, otherService.exportTo)) {
        case (nil, nil): return true
        case (let some?, nil), (nil, let some?): return !some.isSubset(of: ["~"])
        case (let some?, let more?): return !some.intersection(more).isSubset(of: ["~"])
        }
    }

    private func actionFindings(_ object: MeshObject, _ service: Istio.VirtualService) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        for (index, route) in service.http.enumerated() {
            let path = "spec.http[\(index)]"
            switch route.action {
            case .route(let destinations):
                for (number, destination) in destinations.enumerated() {
                    findings += destinationFindings(
                        object, destination.destination, at: "\(path).route[\(number)].destination")
                }
            case .delegate: findings += delegateFindings(object, route, at: path + ".delegate")
            case .redirect, .directResponse: break
            }
            for (number, mirror) in route.mirrors.enumerated() {
                let isAlone = object.source.node?["spec"]?["http"]?.elements?[index]["mirrors"] == nil
                findings += destinationFindings(
                    object, mirror.destination,
                    at: isAlone ? "\(path).mirror" : "\(path).mirrors[\(number)].destination")
            }
        }
        let streams =
            service.tls.map(\.route).enumerated().map { ("tls", $0.offset, $0.element) }
            + service.tcp.map(\.route).enumerated().map { ("tcp", $0.offset, $0.element) }
        for (name, index, destinations) in streams {
            for (number, destination) in destinations.enumerated() {
                findings += destinationFindings(
                    object, destination.destination, at: "spec.\(name)[\(index)].route[\(number)].destination")
            }
        }
        return findings
    }

    private func delegateFindings(_ object: MeshObject, _ route: Istio.HTTPRoute, at path: String) -> [MeshFinding] {
        guard case .delegate(let name, let namespace) = route.action else { return [] }
        let target = ObjectKey(.virtualService, namespace ?? object.key.namespace, name)
        guard case .virtualService(let delegate)? = self[target]?.body else {
            return [
                object.finding(
                    .warning, .unknownObject, at: path, "there is no \(target)", mend: "add it, or correct the name")
            ]
        }
        if let cycle = delegateCycle(from: object.key, through: target) {
            return [
                object.finding(
                    .error, .delegateCycle, at: path,
                    "it leads back to where it came from: " + cycle.map { "\($0)" }.joined(separator: " → "),
                    mend: "break the circle")
            ]
        }
        guard !delegate.hosts.isEmpty else { return [] }
        return [
            object.finding(
                .warning, .unknownObject, at: path, "\(target) has hosts of its own, so nobody can delegate to it",
                mend: "remove `hosts` and `gateways` there")
        ]
    }

    /// The way from an object over its delegates back to it; the search ends where it has been before.
    private func delegateCycle(from start: ObjectKey, through first: ObjectKey) -> [ObjectKey]? {
        var seen: Set<ObjectKey> = []
        var stack: [[ObjectKey]] = [[start, first]]
        while let way = stack.popLast() {
            guard let last = way.last else { continue }
            if last == start { return way }
            guard seen.insert(last).inserted, case .virtualService(let service)? = self[last]?.body else { continue }
            for route in service.http {
                guard case .delegate(let name, let namespace) = route.action else { continue }
                stack.append(way + [ObjectKey(.virtualService, namespace ?? last.namespace, name)])
            }
        }
        return nil
    }
}

/// Whether some name fits both: `*.a.b` and `x.a.b` do.
func hostsOverlap(_ one: String, _ other: String) -> Bool {
    switch (one.hasPrefix("*"), other.hasPrefix("*")) {
    case (false, false): one == other
    case (true, false): other.hasSuffix(one.dropFirst())
    case (false, true): one.hasSuffix(other.dropFirst())
    case (true, true): one.hasSuffix(other.dropFirst()) || other.hasSuffix(one.dropFirst())
    }
}
