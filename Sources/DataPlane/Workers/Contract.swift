// What the module Forwarding brings; declared here until it does.
public final class ListenerConfiguration: Sendable { public init() {} }
public final class FilterChain: Sendable { public init() {} }
public final class RouteTable: Sendable { public init() {} }
public final class ClusterConfiguration: Sendable { public init() {} }
public final class EndpointSet: Sendable { public init() {} }
