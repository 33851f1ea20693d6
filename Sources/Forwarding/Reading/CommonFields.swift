extension SupportedFields {
    /// Of messages that many resources have: matchers, percentages, addresses, sources of bytes, extensions.
    public static let common = SupportedFields([
        "envoy.type.matcher.v3.StringMatcher": "exact prefix suffix safe_regex contains ignore_case",
        "envoy.type.matcher.v3.ListStringMatcher": "patterns",
        // The engine's old limit is read by nobody any more; ours is fixed.
        "envoy.type.matcher.v3.RegexMatcher": "google_re2*~ regex",
        "envoy.type.matcher.v3.RegexMatchAndSubstitute": "pattern substitution",
        "envoy.type.matcher.v3.PathMatcher": "path",
        "envoy.type.matcher.v3.MetadataMatcher": "filter path value invert",
        "envoy.type.matcher.v3.MetadataMatcher.PathSegment": "key",
        "envoy.type.matcher.v3.ValueMatcher":
            "null_match double_match string_match bool_match present_match list_match or_match",
        "envoy.type.matcher.v3.ValueMatcher.NullMatch": "",
        "envoy.type.matcher.v3.DoubleMatcher": "range exact",
        "envoy.type.matcher.v3.ListMatcher": "one_of",
        "envoy.type.matcher.v3.OrMatcher": "value_matchers",
        "envoy.config.route.v3.HeaderMatcher": """
        name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match \
        string_match invert_match treat_missing_header_as_empty
        """,
        "envoy.config.route.v3.QueryParameterMatcher": "name string_match present_match",
        "envoy.type.v3.Int64Range": "start end",
        "envoy.type.v3.Int32Range": "start end",
        "envoy.type.v3.DoubleRange": "start end",
        "envoy.type.v3.Percent": "value",
        "envoy.type.v3.FractionalPercent": "numerator denominator",
        // There is no runtime: the defaults hold, so the keys change nothing.
        "envoy.config.core.v3.RuntimeFractionalPercent": "default_value runtime_key~",
        "envoy.config.core.v3.RuntimePercent": "default_value runtime_key~",
        "envoy.config.core.v3.RuntimeDouble": "default_value runtime_key~",
        "envoy.config.core.v3.RuntimeUInt32": "default_value runtime_key~",
        "envoy.config.core.v3.RuntimeFeatureFlag": "default_value runtime_key~",
        "envoy.config.core.v3.DataSource": "filename inline_bytes inline_string environment_variable",
        "envoy.config.core.v3.CidrRange": "address_prefix prefix_len",
        "envoy.config.core.v3.Address": "socket_address pipe",
        "envoy.config.core.v3.SocketAddress": "protocol=TCP address port_value",
        "envoy.config.core.v3.Pipe": "path",
        "envoy.config.core.v3.HeaderValue": "key value raw_value",
        "envoy.config.core.v3.HeaderValueOption": "header append append_action keep_empty_value",
        // Read by those who are named in it; nothing that is not asked for is lost.
        "envoy.config.core.v3.Metadata": "filter_metadata* typed_filter_metadata*~",
        // The server that resources come from: every source means the stream that this resource came over.
        "envoy.config.core.v3.ConfigSource":
            "ads~ self~ api_config_source*~ resource_api_version~ initial_fetch_timeout~",
        "envoy.config.core.v3.AggregatedConfigSource": "",
        "envoy.config.core.v3.SelfConfigSource": "transport_api_version~",
        "envoy.config.core.v3.TypedExtensionConfig": "name typed_config",
    ])
}
