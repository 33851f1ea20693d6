import Mesh

extension ResourceNames {
    /// A cluster that is nowhere: what leads there fails.
    public static let invalidBackend = "InvalidBackend"
}

extension Translator {
    /// The cluster of a destination. Where no port is written, it is the only one of the service, else the one that the
    /// client called.
    public func destinationCluster(
        _ destination: Istio.Destination, from namespace: String, defaultPort: Int?
    ) -> String {
        let target = target(destination, from: namespace, calledPort: defaultPort)
        return ResourceNames.outbound(target.port, subset: target.subset, target.host)
    }

    func target(
        _ destination: Istio.Destination, from namespace: String, calledPort: Int?, weight: Int = 1
    ) -> Forwarding.Target {
        let host = mesh.fullHost(destination.host, in: namespace)
        var port = destination.port
        if port == nil {
            let found = mesh.services(matching: host, from: namespace)
            let service = found.first { $0.host == host } ?? found.first
            port = service?.ports.count == 1 ? service?.ports[0].number : nil
        }
        let number = port ?? calledPort ?? 0
        let subset = destination.subset ?? ""
        return Forwarding.Target(
            cluster: ResourceNames.outbound(number, subset: subset, host), host: host, port: number, subset: subset,
            weight: weight)
    }

    /// What the DestinationRules for a target bind a client's requests by.
    func hashKey(of target: Forwarding.Target, for scope: OutboundScope) -> Istio.ConsistentHash.Key? {
        guard !target.isInvalid else { return nil }
        return hashKey(target.host, target.port, target.subset.isEmpty ? nil : target.subset, scope)
    }
}
