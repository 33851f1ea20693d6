import Addresses
import EnvoyAPI
import Protobuf

extension EndpointSet {
    /// The most priorities of one assignment. Source: Envoy, `LocalityLbEndpoints.priority`.
    static let priorities = 128

    /// A `ClusterLoadAssignment`, the resource of EDS.
    /// - Throws: the first thing that is wrong or not supported, with its path.
    public convenience init(_ bytes: [UInt8]) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(ClusterLoadAssignment.self, bytes, in: arena, .endpoints)
        try self.init(message.pointee, allowsNames: false)
    }

    /// - Parameter message: looked through by ``FieldAudit`` with the table `endpoints`.
    convenience init(_ message: ClusterLoadAssignment, allowsNames: Bool) throws(ConfigurationError) {
        var levels: [[Group]] = []
        for (index, group) in message.endpoints_list.enumerated() {
            try at("endpoints[\(index)]") { () throws(ConfigurationError) in
                let priority = Int(group.pointee.priority)
                guard priority < Self.priorities else {
                    throw .invalid(path: "priority", message: "\(priority) where the last is \(Self.priorities - 1)")
                }
                while levels.count <= priority { levels.append([]) }
                Self.add(try Self.group(group.pointee, allowsNames), to: &levels[priority])
            }
        }
        // A priority between others may be empty; the last one is not.
        while let last = levels.last, last.allSatisfy({ $0.endpoints.isEmpty }) { levels.removeLast() }
        for (priority, groups) in levels.enumerated() {
            let weight = groups.reduce(0) { $0 + $1.weight }
            guard weight <= Int(UInt32.max) else {
                throw .invalid(
                    path: "endpoints", message: "the weights of priority \(priority) add up to \(weight), too much")
            }
        }
        let policy = message.policy?.pointee
        let overprovisioning = Int(policy?.overprovisioning_factor.number ?? 140)
        guard overprovisioning > 0 else {
            throw .invalid(path: "policy.overprovisioning_factor", message: "must be more than 0")
        }
        var drops: [Drop] = []
        if let policy {
            drops = try policy.drop_overloads_list.read("policy.drop_overloads") { (drop) throws(ConfigurationError) in
                try Drop(drop.pointee)
            }
        }
        self.init(
            name: message.cluster_name.string, levels: levels, overprovisioning: overprovisioning,
            countsWeights: (policy?.weighted_priority_health ?? 0) != 0, drops: drops)
    }

    /// A locality that comes twice is one; its last weight counts.
    private static func add(_ group: Group, to groups: inout [Group]) {
        guard let index = groups.firstIndex(where: { $0.locality == group.locality }) else {
            groups.append(group)
            return
        }
        groups[index].weight = group.weight
        groups[index].endpoints += group.endpoints
    }

    private static func group(_ message: LocalityLbEndpoints, _ allowsNames: Bool) throws(ConfigurationError) -> Group {
        var group = Group(weight: Int(message.load_balancing_weight.number ?? 0))
        if let locality = message.locality?.pointee {
            group.locality = EndpointLocality(
                region: locality.region.string, zone: locality.zone.string, subZone: locality.sub_zone.string)
        }
        let places = message.metadata.map { FilterMetadata($0.pointee) } ?? FilterMetadata()
        var (list, field) = (message.lb_endpoints_list, "lb_endpoints")
        if case .load_balancer_endpoints(let others)? = message.lb_config {
            (list, field) = (others.pointee.lb_endpoints_list, "load_balancer_endpoints.lb_endpoints")
        }
        group.endpoints = try list.read(field) { (endpoint) throws(ConfigurationError) in
            var made = try UpstreamEndpoint(endpoint.pointee, allowsNames)
            made.localityMetadata = places
            return made
        }
        let weight = group.endpoints.reduce(0) { $0 + $1.weight }
        guard weight <= Int(UInt32.max) else {
            throw .invalid(path: field, message: "the weights add up to \(weight), more than \(UInt32.max)")
        }
        return group
    }
}

extension EndpointSet.Drop {
    fileprivate init(_ message: ClusterLoadAssignmentPolicyDropOverload) throws(ConfigurationError) {
        let share = try message.drop_percentage.read("drop_percentage") { (percentage) throws(ConfigurationError) in
            try Fraction(percentage)
        }
        category = message.category.string
        perMillion = share.map { min(1_000_000, Int($0.numerator) * (1_000_000 / Int($0.denominator))) } ?? 0
    }
}

extension UpstreamEndpoint {
    fileprivate init(_ message: LbEndpoint, _ allowsNames: Bool) throws(ConfigurationError) {
        guard case .endpoint(let endpoint)? = message.host_identifier else {
            throw .invalid(path: "endpoint", message: "missing")
        }
        let place = try at("endpoint") { () throws(ConfigurationError) in
            try endpoint.pointee.address.read("address") { (address) throws(ConfigurationError) in
                try EndpointPlace(address, allowsNames)
            }
        }
        guard let place else { throw .invalid(path: "endpoint.address", message: "missing") }
        self.init(place: place)
        hostname = endpoint.pointee.hostname.string
        let weight = message.load_balancing_weight.number ?? 1
        guard weight > 0 else { throw .invalid(path: "load_balancing_weight", message: "must be 1 or more") }
        self.weight = Int(weight)
        state = try HostState(message.health_status)
        if let own = message.metadata { metadata = FilterMetadata(own.pointee) }
        otherAddresses = try at("endpoint") { () throws(ConfigurationError) in
            try endpoint.pointee.additional_addresses_list.read("additional_addresses") {
                (other) throws(ConfigurationError) in
                try other.pointee.address.read("address") { (address) throws(ConfigurationError) in
                    try NetworkAddress(address)
                }
            }.compactMap { $0 }
        }
        guard let check = endpoint.pointee.health_check_config?.pointee else { return }
        isChecked = check.disable_active_health_check == 0
        checkHostname = check.hostname.string
        guard let port = UInt16(exactly: check.port_value) else {
            throw .invalid(path: "endpoint.health_check_config.port_value", message: "\(check.port_value) is no port")
        }
        checkPort = port
        checkAddress = try check.address.read("endpoint.health_check_config.address") {
            (address) throws(ConfigurationError) in try NetworkAddress(address)
        }
    }
}

extension EndpointPlace {
    fileprivate init(_ message: EnvoyAPI.Address, _ allowsNames: Bool) throws(ConfigurationError) {
        if allowsNames, case .socket_address(let socket)? = message.address,
            IPAddress(socket.pointee.address.string) == nil
        {
            let name = socket.pointee.address.string
            guard case .port_value(let port)? = socket.pointee.port_specifier, let port = UInt16(exactly: port) else {
                throw .invalid(path: "socket_address.port_value", message: "a port from 0 to 65535 is needed")
            }
            guard !name.isEmpty, name.utf8.count <= 255 else {
                throw .invalid(path: "socket_address.address", message: "`\(name)` is no name")
            }
            self = .name(name, port: port)
            return
        }
        self = .address(try NetworkAddress(message))
    }
}

extension HostState {
    init(_ value: HealthStatus) throws(ConfigurationError) {
        switch value {
        case .UNKNOWN: self = .unknown
        case .HEALTHY: self = .healthy
        case .UNHEALTHY: self = .unhealthy
        case .DRAINING: self = .draining
        case .TIMEOUT: self = .timeout
        case .DEGRADED: self = .degraded
        default: throw .unsupported(path: "health_status", message: "not known in this version")
        }
    }
}
