import Addresses
import Forwarding
import HTTP
import TLS
import Time

// What the module Forwarding brings of listeners; declared here until it does.
public final class ListenerConfiguration: Sendable {
    nonisolated(unsafe) public var address: NetworkAddress
    nonisolated(unsafe) public var bindsToPort = true
    nonisolated(unsafe) public var usesOriginalDestination = false
    nonisolated(unsafe) public var handsOver = false
    nonisolated(unsafe) public var isTransparent = false
    nonisolated(unsafe) public var inspectsTLS = false
    nonisolated(unsafe) public var inspectsHTTP = false
    nonisolated(unsafe) public var takesProxyProtocol = false
    nonisolated(unsafe) public var detectionTimeout = Duration.seconds(15)
    nonisolated(unsafe) public var continuesOnTimeout = false
    public let chain: FilterChain?
    public init(address: NetworkAddress, chain: FilterChain?) { (self.address, self.chain) = (address, chain) }
    public func match(_ facts: ConnectionFacts, transport: String, protocols: [String]) -> FilterChain? { chain }
}

public final class FilterChain: Sendable {
    public enum Terminal: Sendable {
        case http(HTTPConnectionSettings)
        case tcp(TCPProxySettings)
    }
    public let terminal: Terminal
    public init(_ terminal: Terminal) { self.terminal = terminal }
}

public final class HTTPConnectionSettings: Sendable {
    public let routes: RouteTable?
    public init(routes: RouteTable?) { self.routes = routes }
}

public final class TCPProxySettings: Sendable {
    public let cluster: String
    public init(cluster: String) { self.cluster = cluster }
}
