	# mosquitto's conffiles are diverted as long as midge is installed, and stay where they are: so
	# purging what is left of mosquitto does not delete the configuration that midge serves.
	for file in mosquitto/mosquitto.conf mosquitto/conf.d/README mosquitto/certs/README \
		mosquitto/ca_certificates/README mosquitto/aclfile.example mosquitto/pwfile.example \
		mosquitto/pskfile.example logrotate.d/mosquitto; do
		dpkg-divert --quiet --package @PACKAGE@ --no-rename \
			--divert "/etc/$file.by-mosquitto" --add "/etc/$file"
	done
