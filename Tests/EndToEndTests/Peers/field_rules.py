"""Makes one mistake after the other, and asks Envoy and martinet whether they refuse it, one line a mistake:
NAME, a tab, Envoy's verdict, a tab, martinet's.

Usage: field_rules.py ENVOY MARTINET DATA-DIRECTORY
"""
import concurrent.futures, json, subprocess, sys, tempfile

ENVOY, MARTINET, DATA = sys.argv[1:4]
T="type.googleapis.com/"
ads={"ads":{},"resource_api_version":"V3"}
def addr(p): return {"socket_address":{"address":"127.0.0.1","port_value":p}}
def base():
    hcm={"@type":T+"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x",
      "route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[
          {"match":{"prefix":"/"},"route":{"cluster":"s"}}]}]},
      "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":T+"envoy.extensions.filters.http.router.v3.Router"}}]}
    tcp={"@type":T+"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"t","cluster":"s"}
    return {"node":{"id":"a","cluster":"b"},
     "dynamic_resources":{"ads_config":{"api_type":"GRPC","transport_api_version":"V3","grpc_services":[{"envoy_grpc":{"cluster_name":"xds"}}]}},
     "static_resources":{
      "clusters":[
       {"name":"xds","connect_timeout":"1s","type":"STATIC","typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":T+"envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{}}}},
        "load_assignment":{"cluster_name":"xds","endpoints":[{"lb_endpoints":[{"endpoint":{"address":addr(1)}}]}]}},
       {"name":"s","connect_timeout":"1s","type":"STATIC","load_assignment":{"cluster_name":"s","endpoints":[{"lb_endpoints":[{"endpoint":{"address":addr(2)}}]}]}},
       {"name":"e","connect_timeout":"1s","type":"EDS","eds_cluster_config":{"eds_config":ads}}],
      "listeners":[
       {"name":"h","address":addr(0),"filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":hcm}]}]},
       {"name":"t","address":addr(0),"filter_chains":[{"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":tcp}]}]}]}}
class N:
    def __init__(s,b):
        s.b=b; sr=b["static_resources"]; s.c=sr["clusters"][1]; s.e=sr["clusters"][2]; s.h,s.t=sr["listeners"]
        s.hcm=s.h["filter_chains"][0]["filters"][0]["typed_config"]; s.tcp=s.t["filter_chains"][0]["filters"][0]["typed_config"]
        s.rc=s.hcm["route_config"]; s.vh=s.rc["virtual_hosts"][0]; s.r=s.vh["routes"][0]
        s.la=s.c["load_assignment"]; s.loc=s.la["endpoints"][0]; s.lb=s.loc["lb_endpoints"][0]; s.ep=s.lb["endpoint"]
        s.sa=s.ep["address"]["socket_address"]
    def drop(s,d,k): del d[k]
def hc(**k):
    d={"timeout":"1s","interval":"1s","unhealthy_threshold":1,"healthy_threshold":1,"tcp_health_check":{}}; d.update(k)
    return {a:b for a,b in d.items() if b is not None}
def tls(n,**k):
    n.c["transport_socket"]={"name":"tls","typed_config":{"@type":T+"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext","common_tls_context":k}}
def accesslog(n,cfg):
    n.hcm["access_log"]=[{"name":"a","typed_config":{"@type":T+"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig","common_config":{"log_name":"l","transport_api_version":"V3","grpc_service":cfg}}}]
def ecds(n,src): n.hcm["http_filters"].insert(0,{"name":"f","config_discovery":src})
def scoped(n,conf):
    n.hcm.pop("route_config"); n.hcm["scoped_routes"]={"name":"s","scope_key_builder":{"fragments":[{"header_value_extractor":{"name":"a","index":0,"element_separator":","}}]},"rds_config_source":ads,"scoped_route_configurations_list":{"scoped_route_configurations":[conf]}}
def jwt(n,uri):
    n.hcm["http_filters"].insert(0,{"name":"jwt","typed_config":{"@type":T+"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication","providers":{"p":{"issuer":"i","remote_jwks":{"http_uri":uri}}}}})
def extauthz(n,uri):
    n.hcm["http_filters"].insert(0,{"name":"ea","typed_config":{"@type":T+"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz","transport_api_version":"V3","http_service":{"server_uri":uri}}})
cases={
 "Address oneof":lambda n:n.ep.update(address={}),
 "SocketAddress.address":lambda n:n.sa.update(address=""),
 "SocketAddress.port_specifier":lambda n:n.sa.pop("port_value"),
 "SocketAddress.port_value":lambda n:n.sa.update(port_value=65536),
 "Pipe.path":lambda n:n.ep.update(address={"pipe":{"path":""}}),
 "Pipe.mode":lambda n:n.ep.update(address={"pipe":{"path":"/x","mode":512}}),
 "CidrRange.address_prefix":lambda n:n.t["filter_chains"][0].update(filter_chain_match={"prefix_ranges":[{"prefix_len":8}]}),
 "CidrRange.prefix_len":lambda n:n.t["filter_chains"][0].update(filter_chain_match={"prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":129}]}),
 "ConfigSource oneof":lambda n:n.e["eds_cluster_config"].update(eds_config={"resource_api_version":"V3"}),
 "ExtensionConfigSource.config_source":lambda n:ecds(n,{"type_urls":[T+"envoy.extensions.filters.http.router.v3.Router"]}),
 "ExtensionConfigSource.type_urls":lambda n:ecds(n,{"config_source":ads}),
 "TypedExtensionConfig.name":lambda n:n.r["match"].update({"prefix":None,"path_match_policy":{"typed_config":{"@type":T+"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/a"}}}) or n.r["match"].pop("prefix"),
 "TypedExtensionConfig.typed_config":lambda n:n.r["match"].update({"path_match_policy":{"name":"x"}}) or n.r["match"].pop("prefix"),
 "TransportSocket.name":lambda n:n.c.update(transport_socket={"typed_config":{"@type":T+"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}),
 "HeaderValue.key":lambda n:n.r.update(request_headers_to_add=[{"header":{"value":"x"}}]),
 "HeaderValueOption.header":lambda n:n.r.update(request_headers_to_add=[{}]),
 "GrpcService oneof":lambda n:accesslog(n,{}),
 "EnvoyGrpc.cluster_name":lambda n:accesslog(n,{"envoy_grpc":{}}),
 "HttpUri.uri":lambda n:jwt(n,{"cluster":"s","timeout":"1s"}),
 "HttpUri.cluster oneof":lambda n:jwt(n,{"uri":"http://x/","timeout":"1s"}),
 "HttpUri.cluster empty":lambda n:jwt(n,{"uri":"http://x/","cluster":"","timeout":"1s"}),
 "HttpUri.timeout":lambda n:jwt(n,{"uri":"http://x/","cluster":"s"}),
 "HealthCheck.timeout":lambda n:n.c.update(health_checks=[hc(timeout=None)]),
 "HealthCheck.timeout 0":lambda n:n.c.update(health_checks=[hc(timeout="0s")]),
 "HealthCheck.interval":lambda n:n.c.update(health_checks=[hc(interval=None)]),
 "HealthCheck.interval 0":lambda n:n.c.update(health_checks=[hc(interval="0s")]),
 "HealthCheck.unhealthy_threshold":lambda n:n.c.update(health_checks=[hc(unhealthy_threshold=None)]),
 "HealthCheck.healthy_threshold":lambda n:n.c.update(health_checks=[hc(healthy_threshold=None)]),
 "HealthCheck oneof":lambda n:n.c.update(health_checks=[hc(tcp_health_check=None)]),
 "HttpHealthCheck.path":lambda n:n.c.update(health_checks=[hc(tcp_health_check=None,http_health_check={})]),
 "Cluster.connect_timeout":lambda n:n.c.update(connect_timeout="0s"),
 "Cluster.dns_refresh_rate":lambda n:n.c.update(dns_refresh_rate="0s"),
 "OutlierDetection.interval":lambda n:n.c.update(outlier_detection={"interval":"0s"}),
 "OutlierDetection.base_ejection_time":lambda n:n.c.update(outlier_detection={"base_ejection_time":"0s"}),
 "OutlierDetection.max_ejection_percent":lambda n:n.c.update(outlier_detection={"max_ejection_percent":101}),
 "LocalityLbEndpoints.weight":lambda n:n.loc.update(load_balancing_weight=0),
 "LocalityLbEndpoints.priority":lambda n:n.loc.update(priority=129),
 "LbEndpoint.weight":lambda n:n.lb.update(load_balancing_weight=0),
 "HealthCheckConfig.port":lambda n:n.ep.update(health_check_config={"port_value":65536}),
 "Policy.overprovisioning":lambda n:n.la.update(policy={"overprovisioning_factor":0}),
 "DropOverload.category":lambda n:n.la.update(policy={"drop_overloads":[{"drop_percentage":{"numerator":1}}]}),
 "ClusterLoadAssignment.cluster_name":lambda n:n.la.pop("cluster_name"),
 "listener.Filter.name":lambda n:n.t["filter_chains"][0]["filters"][0].update(name=""),
 "ListenerFilter.name":lambda n:n.t.update(listener_filters=[{"typed_config":{"@type":T+"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]),
 "FilterChainMatch.port 0":lambda n:n.t["filter_chains"][0].update(filter_chain_match={"destination_port":0}),
 "FilterChainMatch.port":lambda n:n.t["filter_chains"][0].update(filter_chain_match={"destination_port":65536}),
 "VirtualHost.name":lambda n:n.vh.pop("name"),
 "VirtualHost.domains":lambda n:n.vh.pop("domains"),
 "Route.match":lambda n:n.r.pop("match"),
 "Route.action":lambda n:n.r.pop("route"),
 "RouteMatch oneof":lambda n:n.r.update(match={}),
 "RouteAction oneof":lambda n:n.r.update(route={}),
 "RouteAction.cluster empty":lambda n:n.r.update(route={"cluster":""}),
 "WeightedCluster.clusters":lambda n:n.r.update(route={"weighted_clusters":{}}),
 "WeightedCluster sum 0":lambda n:n.r.update(route={"weighted_clusters":{"clusters":[{"name":"s","weight":0}]}}),
 "WeightedCluster sum >":lambda n:n.r.update(route={"weighted_clusters":{"clusters":[{"name":"s","weight":4294967295},{"name":"e","weight":1}]}}),
 "ClusterWeight none":lambda n:n.r.update(route={"weighted_clusters":{"clusters":[{"weight":1}]}}),
 "ClusterWeight both":lambda n:n.r.update(route={"weighted_clusters":{"clusters":[{"name":"s","cluster_header":"x","weight":1}]}}),
 "DirectResponse.status low":lambda n:(n.r.pop("route"),n.r.update(direct_response={"status":199})),
 "DirectResponse.status high":lambda n:(n.r.pop("route"),n.r.update(direct_response={"status":600})),
 "HeaderMatcher.name":lambda n:n.r["match"].update(headers=[{"present_match":True}]),
 "QueryParameterMatcher.name":lambda n:n.r["match"].update(query_parameters=[{"present_match":True}]),
 "Scoped.key":lambda n:scoped(n,{"name":"a","route_configuration_name":"r"}),
 "Scoped.fragments":lambda n:scoped(n,{"name":"a","route_configuration_name":"r","key":{}}),
 "Vhds.config_source":lambda n:n.rc.update(vhds={}),
 "HCM.stat_prefix":lambda n:n.hcm.pop("stat_prefix"),
 "HCM.route_specifier":lambda n:n.hcm.pop("route_config"),
 "HttpFilter.name":lambda n:n.hcm["http_filters"][0].update(name=""),
 "Rds.config_source":lambda n:(n.hcm.pop("route_config"),n.hcm.update(rds={"route_config_name":"r"})),
 "TcpProxy.stat_prefix":lambda n:n.tcp.pop("stat_prefix"),
 "TcpProxy oneof":lambda n:n.tcp.pop("cluster"),
 "Tcp.Weighted.clusters":lambda n:(n.tcp.pop("cluster"),n.tcp.update(weighted_clusters={})),
 "Tcp.ClusterWeight.name":lambda n:(n.tcp.pop("cluster"),n.tcp.update(weighted_clusters={"clusters":[{"weight":1}]})),
 "Tcp.ClusterWeight.weight":lambda n:(n.tcp.pop("cluster"),n.tcp.update(weighted_clusters={"clusters":[{"name":"s"}]})),
 "SdsSecretConfig.name":lambda n:tls(n,tls_certificate_sds_secret_configs=[{"sds_config":ads}]),
 "RegexMatcher.regex":lambda n:n.r.update(match={"safe_regex":{}}),
 "EDS load_assignment":lambda n:n.e.update(load_assignment={"cluster_name":"e","endpoints":[{"lb_endpoints":[{"endpoint":{"address":addr(2)}}]}]}),
 "EDS eds_config none":lambda n:n.e.pop("eds_cluster_config"),
 "EDS eds_config empty":lambda n:n.e.update(eds_cluster_config={"service_name":"x"}),
 "Listener.address":lambda n:n.t.pop("address"),
 "Listener.filter_chains":lambda n:n.t.pop("filter_chains"),
 "domain twice":lambda n:n.vh.update(domains=["a.example","A.example"]),
 "domain twice 2":lambda n:n.rc["virtual_hosts"].append({"name":"w","domains":["*"]}),
 "vhost twice":lambda n:n.rc["virtual_hosts"].append({"name":"v","domains":["b"]}),
 "STATIC good":lambda n:None,
}

def verdict(*command):
    return "takes" if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0 else "refuses"
def run(item):
    name,mistake=item
    b=base(); mistake(N(b))
    static=b["static_resources"]
    clusters=[{"@type":T+"envoy.config.cluster.v3.Cluster",**c} for c in static["clusters"][1:]]
    listeners=[{"@type":T+"envoy.config.listener.v3.Listener",**l} for l in static["listeners"]]
    with tempfile.TemporaryDirectory() as directory:
        bootstrap,resources=directory+"/bootstrap.json",directory+"/resources.json"
        with open(bootstrap,"w") as file: json.dump(b,file)
        with open(resources,"w") as file: json.dump({"resources":clusters+listeners},file)
        return (name,verdict(ENVOY,"-c",bootstrap,"--mode","validate","--log-level","off","--disable-hot-restart"),
                verdict(MARTINET,"apply","-f",resources,"--data",DATA))
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for verdicts in pool.map(run,cases.items()): print("\t".join(verdicts),flush=True)
