import Documents

extension MeshIndex {
    /// What does not fit together, of all objects, sorted.
    public func findings() -> [MeshFinding] { keys.flatMap { findings(about: $0) }.sorted() }

    /// What does not fit together about one object: what it names and is not there, what it contradicts, what nothing
    /// will ever use; and the warnings that it got when it was read.
    public func findings(about key: ObjectKey) -> [MeshFinding] {
        guard let object = self[key] else { return [] }
        var findings = object.warnings
        for value in FieldSupport.unsupportedValues(of: object.body) {
            findings.append(
                object.finding(.warning, .unsupportedField, at: value.path, value.words, mend: value.mend))
        }
        switch object.body {
        case .virtualService(let service): findings += self.findings(object, service)
        case .destinationRule(let rule): findings += self.findings(object, rule)
        case .gateway(let gateway): findings += self.findings(object, gateway)
        case .serviceEntry(let entry): findings += self.findings(object, entry)
        case .authorizationPolicy(let policy): findings += self.findings(object, policy)
        case .telemetry(let telemetry): findings += self.findings(object, telemetry)
        case .sidecar(let sidecar): findings += self.findings(object, sidecar)
        case .service(let service): findings += self.findings(object, service)
        case .endpointSlice: findings += sliceFindings(object)
        case .pod(let pod): findings += accountFindings(object, pod.serviceAccount, "spec.serviceAccountName")
        case .deployment(let deployment):
            findings += accountFindings(
                object, deployment.template.serviceAccount, "spec.template.spec.serviceAccountName")
        case .kubernetesGateway(let gateway): findings += self.findings(object, gateway)
        case .httpRoute(let route): findings += self.findings(object, route)
        case .grpcRoute(let route): findings += self.findings(object, route)
        case .tlsRoute(let route), .tcpRoute(let route): findings += self.findings(object, route)
        case .backendTLSPolicy(let policy): findings += self.findings(object, policy)
        case .meshConfig(let config):
            findings += self.findings(object, config)
            if key != MeshConfig.key {
                findings.append(
                    object.finding(
                        .error, .invalidValue, at: "metadata.name", "a MeshConfig has the name \(MeshConfig.name)",
                        mend: "rename it"))
            }
        case .namespace, .serviceAccount, .secret, .workloadEntry, .workloadGroup, .envoyFilter, .proxyConfig,
            .peerAuthentication, .requestAuthentication, .gatewayClass, .referenceGrant:
            break
        }
        return findings + scopeFindings(object)
    }

    /// The findings after a change that the change brought: about what changed and about what names or claims the same.
    /// - Parameter changed: keys of objects that were put or removed; this index is the one after it.
    public func findings(after changed: some Sequence<ObjectKey>) -> [MeshFinding] {
        objects(affectedBy: changed).sorted().flatMap { findings(about: $0) }.sorted()
    }

    /// The objects that findings may come or go about with a change: what changed, and what names or claims the same.
    /// What was removed is known to the index before it alone: ask both.
    public func objects(affectedBy changed: some Sequence<ObjectKey>) -> Set<ObjectKey> {
        var affected: Set<ObjectKey> = []
        for key in changed {
            affected.insert(key)
            affected.formUnion(objects(naming: key).map(\.key))
            guard let object = self[key] else { continue }
            for host in Self.servedHosts(object) + Self.claimedHosts(object) {
                affected.formUnion(claims[host] ?? [])
            }
        }
        return affected
    }

    // MARK: Pieces that several kinds share

    func noSuchHost(
        _ object: MeshObject, _ host: String, at path: String, _ severity: MeshFinding.Severity = .warning
    ) -> MeshFinding {
        let full = fullHost(host, in: object.key.namespace)
        let near = suggestion(
            for: host, among: objects(of: .service, in: object.key.namespace).map(\.key.name))
        let shown = full == host ? "" : " (\(full))"
        return object.finding(
            severity, .unknownHost, at: path, "no service has the host `\(host)`\(shown)",
            mend: near.map { "did you mean `\($0)`?" } ?? "add a Service or a ServiceEntry, or correct the host")
    }

    /// The host, port and subset of a destination.
    func destinationFindings(
        _ object: MeshObject, _ destination: Istio.Destination, at path: String
    ) -> [MeshFinding] {
        let services = services(matching: destination.host, from: object.key.namespace)
        guard !services.isEmpty else { return [noSuchHost(object, destination.host, at: path + ".host")] }
        var findings: [MeshFinding] = []
        let ports = services.flatMap(\.ports)
        if let port = destination.port, !ports.contains(where: { $0.number == port }), !ports.isEmpty {
            let list = Set(ports.map(\.number)).sorted().map(String.init).joined(separator: ", ")
            findings.append(
                object.finding(
                    .warning, .unknownPort, at: path + ".port.number",
                    "`\(destination.host)` has no port \(port)", mend: "it has \(list)"))
        }
        if let subset = destination.subset {
            let names = destinationRules(for: destination.host, from: object.key.namespace).flatMap {
                rule -> [String] in
                if case .destinationRule(let rule) = rule.body { rule.subsets.map(\.name) } else { [] }
            }
            if !names.contains(subset) {
                findings.append(
                    object.finding(
                        .warning, .unknownSubset, at: path + ".subset",
                        "no DestinationRule defines the subset `\(subset)` of `\(destination.host)`",
                        mend: suggestion(for: subset, among: names).map { "did you mean `\($0)`?" }
                            ?? "add it to `subsets` of a DestinationRule for the host"))
            }
        }
        return findings
    }

    /// A policy whose labels select nobody.
    private func scopeFindings(_ object: MeshObject) -> [MeshFinding] {
        guard let scope = object.policyScope else { return [] }
        var findings = targetFindings(object)
        if let selector = scope.selector, !selector.labels.isEmpty {
            // In the root namespace a policy with labels is for the workloads of all namespaces.
            let isRoot = object.key.namespace == config.rootNamespace
            let namespaces = isRoot ? allNamespaces : [object.key.namespace]
            if !namespaces.contains(where: { !workloads(with: selector.labels, in: $0).isEmpty }) {
                let path =
                    switch object.key.kind {
                    case .sidecar, .envoyFilter: "spec.workloadSelector.labels"
                    default: "spec.selector.matchLabels"
                    }
                findings.append(
                    object.finding(
                        .warning, .selectsNothing, at: path, "no workload has these labels",
                        mend: "correct the labels, or start the workload"))
            }
        }
        switch object.key.kind {
        case .peerAuthentication, .sidecar, .telemetry:
            guard scope.isWide else { break }
            let others = objects(of: object.key.kind, in: object.key.namespace)
                .filter { $0.key != object.key && $0.policyScope?.isWide == true }
            if let older = others.filter({ $0.isOlder(than: object) }).first {
                findings.append(
                    object.finding(
                        .warning, .conflictingPolicy, at: "",
                        "\(older.key) is for the whole namespace too, and is older",
                        mend: "remove one of them, or add a selector"))
            }
        default: break
        }
        return findings
    }

    var allNamespaces: [String] { Set(places.keys.map(\.namespace) + workloads.keys).sorted() }
}
