import Forwarding

extension ListenerConfiguration { convenience init(_ bytes: [UInt8]) throws(ConfigurationError) { self.init() } }
extension RouteTable { convenience init(_ bytes: [UInt8]) throws(ConfigurationError) { self.init() } }
extension ClusterConfiguration { convenience init(_ bytes: [UInt8]) throws(ConfigurationError) { self.init() } }
extension EndpointSet { convenience init(_ bytes: [UInt8]) throws(ConfigurationError) { self.init() } }
